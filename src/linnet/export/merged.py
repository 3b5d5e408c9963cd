"""An adapter as the ordinary model directory that other programs need, for as long as they do."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from linnet import artifact
from linnet.model.adapter import is_adapter
from linnet.model.lora_config import MergeConfig
from linnet.model.merging import merge_adapter
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def merged(path: Path | str, *, beside: Path, progress: Progress = SILENT) -> Iterator[Path]:
    """A model directory as it is; an adapter merged into its base, in fp32.

    ``beside``: an existing directory on a disk with room for that. Raises ModelError when the
    adapter's base is not there.
    """
    path = artifact.within(path, "model")
    if not is_adapter(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix=".merged-", dir=beside) as place:
        made = Path(place) / path.resolve().name
        merge_adapter(path, made, MergeConfig(dtype="fp32"), progress=progress)
        yield made
