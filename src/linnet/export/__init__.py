"""Models for programs other than PyTorch: GGUF files for llama.cpp and what is built on it.

In reading order: ``gguf`` (the file, by what ``linnet.gguf`` knows of the format), ``adapters``
(those of LoRA), ``ollama``.
"""

from typing import TYPE_CHECKING

from linnet.lazy import lazy

if TYPE_CHECKING:
    from linnet.export.config import ExportConfig
    from linnet.export.gguf import export_gguf
    from linnet.export.ollama import export_ollama
    from linnet.gguf.tensors import read_tensors
    from linnet.llama_cpp.client import LlamaCpp

__all__ = ["ExportConfig", "LlamaCpp", "export_gguf", "export_ollama", "read_tensors"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "ExportConfig": ("linnet.export.config", "ExportConfig"),
        "LlamaCpp": ("linnet.llama_cpp.client", "LlamaCpp"),
        "export_gguf": ("linnet.export.gguf", "export_gguf"),
        "export_ollama": ("linnet.export.ollama", "export_ollama"),
        "read_tensors": ("linnet.gguf.tensors", "read_tensors"),
    },
)
