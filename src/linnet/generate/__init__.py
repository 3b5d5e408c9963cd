"""Writing text with a model.

In reading order: ``sampling`` (the settings), ``logits`` (from scores to a token), ``stopping``
(stop strings), ``engine`` (the interface), ``tokenization``, ``torch_engine`` (its implementation
on the exact weights: ``generation``, ``scheduler``, ``kv_cache``, ``torch_runner``,
``torch_decoder``, ``constraining``), ``llama_cpp`` (the other one), ``engine_kind`` (what an engine
declares), ``engines`` (which there are, and which is taken). What Python programs, commands and the
server open models by is in ``linnet.respond``, above them.
"""

from linnet.generate.engine import Chunk, Completion, Engine, FinishReason, Request, Score
from linnet.generate.engine_kind import model_directory
from linnet.generate.engines import EngineConfig, GenerateConfig, open_engine
from linnet.generate.sampling import Sampling

__all__ = [
    "Chunk",
    "Completion",
    "Engine",
    "EngineConfig",
    "FinishReason",
    "GenerateConfig",
    "Request",
    "Sampling",
    "Score",
    "model_directory",
    "open_engine",
]
