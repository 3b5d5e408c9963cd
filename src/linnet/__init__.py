"""Linnet: a folder of documents becomes a small language model you run yourself.

The names below are loaded when first used, so ``import linnet`` costs nothing.
A function never has the name of a package beside it: ``linnet.train`` is the
package, whatever was imported before, and ``linnet.train_model`` the function.
Each function takes paths as text or ``Path``, and a dataclass of settings that
may be left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linnet.lazy import lazy
from linnet.version import __version__

if TYPE_CHECKING:
    from linnet.answers.opening import open_assistant
    from linnet.data.config import DataConfig
    from linnet.data.inspection import explain as explain_document
    from linnet.data.preparation import prepare
    from linnet.data.storage import read_documents
    from linnet.errors import LinnetError
    from linnet.evaluate import EvaluateConfig
    from linnet.evaluate import evaluate as evaluate_model
    from linnet.export.config import ExportConfig
    from linnet.export.gguf import export_gguf
    from linnet.export.ollama import export_ollama
    from linnet.finetune.config import FinetuneConfig
    from linnet.finetune.finetune import finetune as finetune_model
    from linnet.forget import forget as forget_documents
    from linnet.generate import EngineConfig, Sampling
    from linnet.generate.embedding import Encoder, load_encoder
    from linnet.gguf.config import ImportConfig
    from linnet.gguf.importing import import_gguf
    from linnet.model.lora_config import MergeConfig
    from linnet.model.merging import merge_adapter
    from linnet.pipeline import build
    from linnet.planner import plan
    from linnet.progress import Progress
    from linnet.respond import LanguageModel, load, open_model
    from linnet.roundtrip import check as check_round_trip
    from linnet.shards import EncodeConfig, encode
    from linnet.tokenizer import TokenizerConfig
    from linnet.tokenizer import train as train_tokenizer
    from linnet.train import TrainConfig
    from linnet.train import train as train_model

_HOMES: dict[str, tuple[str, str]] = {
    "DataConfig": ("linnet.data", "DataConfig"),
    "EncodeConfig": ("linnet.shards", "EncodeConfig"),
    "Encoder": ("linnet.generate.embedding", "Encoder"),
    "EngineConfig": ("linnet.generate", "EngineConfig"),
    "EvaluateConfig": ("linnet.evaluate", "EvaluateConfig"),
    "ExportConfig": ("linnet.export", "ExportConfig"),
    "FinetuneConfig": ("linnet.finetune.config", "FinetuneConfig"),
    "ImportConfig": ("linnet.gguf.config", "ImportConfig"),
    "LanguageModel": ("linnet.respond", "LanguageModel"),
    "LinnetError": ("linnet.errors", "LinnetError"),
    "MergeConfig": ("linnet.model.lora_config", "MergeConfig"),
    "Progress": ("linnet.progress", "Progress"),
    "Sampling": ("linnet.generate", "Sampling"),
    "TokenizerConfig": ("linnet.tokenizer", "TokenizerConfig"),
    "TrainConfig": ("linnet.train", "TrainConfig"),
    "build": ("linnet.pipeline", "build"),
    "check_round_trip": ("linnet.roundtrip", "check"),
    "encode": ("linnet.shards", "encode"),
    "evaluate_model": ("linnet.evaluate", "evaluate"),
    "explain_document": ("linnet.data", "explain"),
    "export_gguf": ("linnet.export", "export_gguf"),
    "export_ollama": ("linnet.export", "export_ollama"),
    "finetune_model": ("linnet.finetune.finetune", "finetune"),
    "forget_documents": ("linnet.forget", "forget"),
    "import_gguf": ("linnet.gguf.importing", "import_gguf"),
    "load": ("linnet.respond", "load"),
    "load_encoder": ("linnet.generate.embedding", "load_encoder"),
    "merge_adapter": ("linnet.model.merging", "merge_adapter"),
    "open_assistant": ("linnet.answers.opening", "open_assistant"),
    "open_model": ("linnet.respond", "open_model"),
    "plan": ("linnet.planner", "plan"),
    "prepare": ("linnet.data", "prepare"),
    "read_documents": ("linnet.data", "read_documents"),
    "train_model": ("linnet.train", "train"),
    "train_tokenizer": ("linnet.tokenizer", "train"),
}

__all__ = [
    "DataConfig",
    "EncodeConfig",
    "Encoder",
    "EngineConfig",
    "EvaluateConfig",
    "ExportConfig",
    "FinetuneConfig",
    "ImportConfig",
    "LanguageModel",
    "LinnetError",
    "MergeConfig",
    "Progress",
    "Sampling",
    "TokenizerConfig",
    "TrainConfig",
    "__version__",
    "build",
    "check_round_trip",
    "encode",
    "evaluate_model",
    "explain_document",
    "export_gguf",
    "export_ollama",
    "finetune_model",
    "forget_documents",
    "import_gguf",
    "load",
    "load_encoder",
    "merge_adapter",
    "open_assistant",
    "open_model",
    "plan",
    "prepare",
    "read_documents",
    "train_model",
    "train_tokenizer",
]

__getattr__, __dir__ = lazy(__name__, _HOMES)
