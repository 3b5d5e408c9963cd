"""Fine-tuning: a model and examples in, an adapted model or an adapter out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from linnet.artifact import Artifact
    from linnet.finetune.config import FinetuneConfig


def finetune(
    model: str | Path,
    data: Sequence[str | Path],
    out: Path,
    config: FinetuneConfig,
    *,
    progress: Progress = SILENT,
) -> Artifact:
    """Adapt a model to examples; write a model directory (full) or an adapter (lora)."""
    raise NotImplementedError
