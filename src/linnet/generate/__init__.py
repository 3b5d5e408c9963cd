"""Writing text with a model.

In reading order: ``sampling`` (the settings), ``logits`` (from scores to a
token), ``stopping`` (stop strings), ``engine`` (the interface),
``torch_engine`` (its implementation on the exact weights: ``torch_text``, ``scheduler``,
``prefix_cache``, ``torch_memory``, ``torch_decoder``, ``constraining``), ``llama_cpp`` (the other
one), ``opening`` (which of them), ``language_model`` (what Python programs call).
"""

from linnet.generate.engine import Chunk, Completion, Engine, FinishReason, Request, Score
from linnet.generate.language_model import GenerateConfig, LanguageModel, load, model_directory
from linnet.generate.sampling import Sampling

__all__ = [
    "Chunk",
    "Completion",
    "Engine",
    "FinishReason",
    "GenerateConfig",
    "LanguageModel",
    "Request",
    "Sampling",
    "Score",
    "load",
    "model_directory",
]
