"""Dense search over segments: the cosines of a question's vector with the passages'."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from linnet.errors import DamagedError, LinnetError, ModelError
from linnet.retrieval.encoders import TextEncoder, choose_encoder
from linnet.retrieval.segments import VECTORS, Segment
from linnet.retrieval.state import EncoderState
from linnet.retrieval.vectors import similarities

Scores = npt.NDArray[np.float32]


class Dense:
    """Searches these segments by the encoder that made their vectors."""

    def __init__(self, segments: Sequence[Segment], encoder: EncoderState, root: Path) -> None:
        """``root``: the directory of the index, in which an encoder of its own lies."""
        self.encoder, self._root = encoder, root
        self.problem = ""
        """Why it does not search: what made the vectors is not there any more."""
        self._lock = threading.Lock()
        self._opened: TextEncoder | None = None
        self._sizes = [len(segment) for segment in segments]
        self._rows = [segment.vectors(vectors_name(encoder.fingerprint)) for segment in segments]
        for rows in self._rows:
            if rows is not None and rows.shape[1] != encoder.width:
                raise DamagedError(
                    f"{root}: expected vectors of {encoder.width} numbers. Got {rows.shape[1]}: "
                    "delete the index and run linnet index again"
                )

    def scores(self, query: str) -> Scores | None:
        """The cosine of each passage, 0 for one that has no vector yet; segment by segment. None
        where the encoder cannot be opened: see ``problem``."""
        encoder = self._text_encoder()
        if encoder is None:
            return None
        vector = encoder.embed_queries([query])
        found = [
            np.zeros(size, np.float32) if rows is None else similarities(rows, vector)[0]
            for size, rows in zip(self._sizes, self._rows, strict=True)
        ]
        return np.concatenate([np.empty(0, np.float32), *found])

    def _text_encoder(self) -> TextEncoder | None:
        with self._lock:
            if self._opened is None and not self.problem:
                try:
                    self._opened = self._open()
                except LinnetError as error:
                    self.problem = f"only words are searched: {error}"
            return self._opened

    def _open(self) -> TextEncoder:
        opened = choose_encoder(self.encoder.source, index=self._root, offline=True)
        if opened is None or opened.fingerprint != self.encoder.fingerprint:
            raise ModelError(
                f"encoder '{self.encoder.name}' is not the one that the index was made with; run "
                "linnet index again"
            )
        if opened.width != self.encoder.width:
            raise ModelError(
                f"encoder '{self.encoder.name}': expected vectors of {self.encoder.width} numbers. "
                f"Got {opened.width}; run linnet index again"
            )
        return opened


def vectors_name(fingerprint: str) -> str:
    """The file of an encoder's vectors, without its ending."""
    return f"{VECTORS}{fingerprint[:16]}"
