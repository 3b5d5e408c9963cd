"""Linnet: a folder of documents becomes a small language model you run yourself.

The names below are loaded when first used, so ``import linnet`` costs nothing.
A function never has the name of a package beside it: ``linnet.train`` is the
package, whatever was imported before, and ``linnet.train_model`` the function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linnet.lazy import lazy
from linnet.version import __version__

if TYPE_CHECKING:
    from linnet.data import explain as explain_document  # noqa: F401
    from linnet.data import prepare as prepare
    from linnet.evaluate import evaluate as evaluate_model  # noqa: F401
    from linnet.export import export_gguf as export_gguf
    from linnet.export import export_ollama as export_ollama
    from linnet.finetune.finetune import finetune as finetune_model  # noqa: F401
    from linnet.forget import forget as forget_documents  # noqa: F401
    from linnet.generate import load as load
    from linnet.generate.embedding import load_encoder as load_encoder
    from linnet.model.merging import merge_adapter as merge_adapter
    from linnet.pipeline import build as build
    from linnet.planner import plan as plan
    from linnet.roundtrip import check as check_round_trip  # noqa: F401
    from linnet.shards import encode as encode
    from linnet.tokenizer import train as train_tokenizer  # noqa: F401
    from linnet.train import train as train_model  # noqa: F401

_HOMES: dict[str, tuple[str, str]] = {
    "build": ("linnet.pipeline", "build"),
    "check_round_trip": ("linnet.roundtrip", "check"),
    "encode": ("linnet.shards", "encode"),
    "evaluate_model": ("linnet.evaluate", "evaluate"),
    "explain_document": ("linnet.data", "explain"),
    "export_gguf": ("linnet.export", "export_gguf"),
    "export_ollama": ("linnet.export", "export_ollama"),
    "finetune_model": ("linnet.finetune.finetune", "finetune"),
    "forget_documents": ("linnet.forget", "forget"),
    "load": ("linnet.generate", "load"),
    "load_encoder": ("linnet.generate.embedding", "load_encoder"),
    "merge_adapter": ("linnet.model.merging", "merge_adapter"),
    "plan": ("linnet.planner", "plan"),
    "prepare": ("linnet.data", "prepare"),
    "train_model": ("linnet.train", "train"),
    "train_tokenizer": ("linnet.tokenizer", "train"),
}


__getattr__ = lazy(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])


__all__ = ["__version__"]
