"""The engine on llama.cpp (through ``xllamacpp``), in a process of its own.

In reading order: ``cache`` and ``vocabulary`` (the file that is made of a checkpoint),
``words`` (text and tokens), ``asking`` and ``reading`` (a request and its answer),
``dispatching`` (many of them), ``constraints`` (with ``pattern``, ``regex`` and ``gbnf``),
``engine``, ``making`` (from a model's directory), ``foreign`` (from a GGUF file of
anyone's), ``dequantise`` (its weights in torch, which score texts), ``processor``.
"""

from linnet.lazy import lazy

__all__ = ["LlamaCppEngine", "ServingConfig", "open_checkpoint", "open_gguf"]

__getattr__ = lazy(
    __name__,
    {
        "LlamaCppEngine": ("linnet.generate.llama_cpp.engine", "LlamaCppEngine"),
        "ServingConfig": ("linnet.generate.llama_cpp.config", "ServingConfig"),
        "open_checkpoint": ("linnet.generate.llama_cpp.making", "open_checkpoint"),
        "open_gguf": ("linnet.generate.llama_cpp.foreign", "open_gguf"),
    },
)
