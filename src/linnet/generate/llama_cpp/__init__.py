"""The engine on llama.cpp (through ``xllamacpp``), in a process of its own.

In reading order: ``cache`` and ``vocabulary`` (the file that is made of a checkpoint),
``words`` (text and tokens), ``asking`` and ``reading`` (a request and its answer),
``dispatching`` (many of them), ``constraints`` (with ``pattern``, ``regex``, ``gbnf``,
``numerals`` and ``schema``), ``room``, ``engine``, ``making`` (from a model's directory;
``known``: the next time), ``foreign`` (from a GGUF file of anyone's, with its ``metadata``),
``dequantise`` (its weights in torch, which score texts), ``encoder`` (texts as vectors),
``processor``.
"""

from typing import TYPE_CHECKING

from linnet.lazy import lazy

if TYPE_CHECKING:
    from linnet.generate.llama_cpp.encoder import LlamaCppEncoder, load_llama_cpp_encoder
    from linnet.generate.llama_cpp.engine import LlamaCppEngine
    from linnet.generate.llama_cpp.foreign import open_gguf
    from linnet.generate.llama_cpp.kind import open_checkpoint

__all__ = [
    "LlamaCppEncoder",
    "LlamaCppEngine",
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
        "open_checkpoint": ("linnet.generate.llama_cpp.kind", "open_checkpoint"),
        "open_gguf": ("linnet.generate.llama_cpp.foreign", "open_gguf"),
    },
)
