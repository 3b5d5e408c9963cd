"""The engine on llama.cpp (through ``xllamacpp``), in a process of its own.

In reading order: ``kind`` (what it can do, and how it is opened), ``checkpoints`` and ``files``
(the file that is made of a checkpoint, ``cache`` and ``metadata`` of one), ``tokenization``,
``resources``, ``engine``, ``completion`` (a request and its answer), ``dispatcher`` (many of
them), ``dequantise`` (a file's weights in torch, which score texts), ``encoder`` (texts as
vectors). The process itself is ``linnet.llama_cpp``.
"""

from typing import TYPE_CHECKING

from linnet.lazy import lazy

if TYPE_CHECKING:
    from linnet.generate.engines import EngineConfig as ServingConfig
    from linnet.generate.llama_cpp.encoder import LlamaCppEncoder, load_llama_cpp_encoder
    from linnet.generate.llama_cpp.engine import LlamaCppEngine
    from linnet.generate.llama_cpp.files import open_gguf
    from linnet.generate.llama_cpp.kind import open_checkpoint

__all__ = [
    "LlamaCppEncoder",
    "LlamaCppEngine",
    "ServingConfig",
    "load_llama_cpp_encoder",
    "open_checkpoint",
    "open_gguf",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "LlamaCppEncoder": ("linnet.generate.llama_cpp.encoder", "LlamaCppEncoder"),
        "load_llama_cpp_encoder": ("linnet.generate.llama_cpp.encoder", "load_llama_cpp_encoder"),
        "LlamaCppEngine": ("linnet.generate.llama_cpp.engine", "LlamaCppEngine"),
        "ServingConfig": ("linnet.generate.engines", "EngineConfig"),
        "open_checkpoint": ("linnet.generate.llama_cpp.kind", "open_checkpoint"),
        "open_gguf": ("linnet.generate.llama_cpp.files", "open_gguf"),
    },
)
