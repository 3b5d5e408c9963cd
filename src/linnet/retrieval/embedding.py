"""Vectors for an index: made behind it while words are searched already.

Passages without a vector are embedded some thousand at a time, each a transaction, so that a kill
loses no more than that. Vectors of another encoder are made beside those in use; when all passages
have one, the index switches, and the old ones go.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from linnet import artifact, output
from linnet.artifact import Artifact, Generation
from linnet.config import to_mapping
from linnet.errors import BusyError
from linnet.progress import SILENT, Progress, Task
from linnet.retrieval.dense import vectors_name
from linnet.retrieval.encoders import TextEncoder, choose_encoder, passage_text
from linnet.retrieval.index import KIND
from linnet.retrieval.segments import FOLDER, Mask, Segment, save
from linnet.retrieval.state import FILE, EncoderState, State, read_state, segments_of
from linnet.retrieval.updating import later_transaction

AT_ONCE = 4096
"""Passages between two transactions."""


def embed_index(
    place: Path | str, encoder: str | None = None, *, progress: Progress = SILENT
) -> Artifact:
    """Give the passages of an index the vectors that they do not have yet.

    ``encoder``: as :func:`linnet.retrieval.choose_encoder` takes it. None: the one that was asked
    for by name before, else the one in use, else the best that is at hand; ``lexical`` takes the
    vectors out.
    """
    place = Path(place)
    path = artifact.within(place, KIND)
    state = read_state(artifact.read(path, kind=KIND))
    asked = state.asked if encoder is None else encoder
    wanted = asked or (state.encoder.source if state.encoder is not None else None)
    chosen = choose_encoder(wanted, index=path.parent, progress=progress)
    if chosen is None:
        if state.encoder is not None or state.asked != asked:
            _use(path, None, asked)
        return artifact.read(path, kind=KIND)
    total = sum(int(_lacking(segment, chosen).sum()) for segment in _segments(path))
    with progress.task(f"embedding passages with {chosen.name}", total=total) as task:
        while _embed_some(path, chosen, task):
            pass
    now = EncoderState(chosen.name, chosen.source, chosen.fingerprint, chosen.width)
    if (now, asked) != (state.encoder, state.asked) or total:
        _use(path, now, asked)
    return artifact.read(path, kind=KIND)


def _segments(path: Path) -> list[Segment]:
    return segments_of(artifact.read(path, kind=KIND))


def _lacking(segment: Segment, encoder: TextEncoder) -> Mask:
    """The live passages that have no vector by an encoder."""
    rows = segment.vectors(vectors_name(encoder.fingerprint))
    if rows is None:
        return segment.live.copy()
    lacking: Mask = segment.live & ~rows.any(axis=1)
    return lacking


def _embed_some(path: Path, encoder: TextEncoder, task: Task) -> bool:
    """Embed some passages; gives whether there were any."""
    name = vectors_name(encoder.fingerprint)
    with artifact.snapshot(path, kind=KIND) as made:
        for segment in segments_of(made):
            numbers = np.flatnonzero(_lacking(segment, encoder))[:AT_ONCE]
            if len(numbers):
                break
        else:
            return False
        texts = [passage_text(segment.passage(int(number))) for number in numbers]
        vectors = encoder.embed_passages(texts)
        before = segment.vectors(name)
        rows = np.zeros((len(segment), encoder.width), np.float32)
        if before is not None:
            rows[:] = before
        rows[numbers] = vectors
    with later_transaction(path) as draft:
        assert draft.before is not None
        if segment.name in read_state(draft.before).segments:  # else it was joined to another
            save(_folder(draft, segment), name, rows)
        draft.stats.update(draft.before.stats)
    task.advance(len(numbers))
    return True


def _folder(draft: Generation, segment: Segment) -> Path:
    folder = draft.path / FOLDER / segment.name
    output.make_directory(folder)
    return folder


def _use(path: Path, encoder: EncoderState | None, asked: str) -> None:
    """Search by this encoder from now on, and remove the vectors of others."""
    with later_transaction(path) as draft:
        assert draft.before is not None
        state = read_state(draft.before)
        own = "" if encoder is None else f"{vectors_name(encoder.fingerprint)}.npy"
        for segment in segments_of(draft.before):
            if own and segment.live.any() and own not in segment.files:
                raise BusyError(
                    f"{path}: another linnet process has changed it; run linnet index again"
                )
            for name in segment.vector_names:
                if f"{name}.npy" != own:
                    draft.remove(f"{FOLDER}/{segment.name}/{name}.npy")
        new = State(state.segments, state.characters, encoder, asked)
        output.write_json(draft.path / FILE, to_mapping(new))
        draft.stats.update(draft.before.stats)
        draft.stats["encoder"] = None if encoder is None else encoder.name
