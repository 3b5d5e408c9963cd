"""Making an index of documents, and keeping it as they are.

``make_index`` prepares a corpus of the documents and brings the index beside it up to date: first
by words (``linnet.retrieval.updating``), then by meaning (``linnet.retrieval.embedding``).
"""

from __future__ import annotations

import glob
import shutil
from collections.abc import Sequence
from pathlib import Path

from linnet import artifact, output
from linnet.artifact import Artifact, Draft
from linnet.config import from_mapping, replace
from linnet.data import DataConfig, prepare
from linnet.data.forgetting import Forgotten
from linnet.data.locating import CorpusTexts
from linnet.data.preparation import made_with
from linnet.errors import DataError
from linnet.progress import SILENT, Progress
from linnet.retrieval.config import IndexConfig
from linnet.retrieval.embedding import embed_index
from linnet.retrieval.index import KIND
from linnet.retrieval.updating import index_texts

__all__ = ["IndexConfig", "for_search", "index_corpus", "make_index", "update_index"]

CORPUS = "corpus"
_OWN = (
    *(f"{name}/{artifact.MANIFEST}" for name in (CORPUS, KIND)),
    *(f".{CORPUS}.{state}" for state in ("partial", "superseded", "lock")),
    f"{CORPUS}.forgotten.json", f"{CORPUS}.sources",
)  # fmt: skip
"""Of these the place of an index has at least one, even one whose making was killed."""


def make_index(
    source: str | Path | Sequence[str | Path],
    out: Path | str,
    config: IndexConfig | None = None,
    *,
    data: DataConfig | None = None,
    progress: Progress = SILENT,
) -> Artifact:
    """Index documents: files, folders and whatever else ``linnet.prepare`` reads; or those of a
    corpus or a project, unmasked and read as they were for it.

    Run again it does what has changed. ``data``: how they are read; what training would leave
    out is indexed too. Raises what ``linnet.prepare`` raises, and OutputError where ``out`` holds
    anything but an index, such as the documents.
    """
    out, config = Path(out), config or IndexConfig()
    output.check_output_directory(out, allowed=_OWN)
    sources = [source] if isinstance(source, str | Path) else list(source)
    made = _corpus_in(sources, out)
    if made is not None:
        data, known = made_with(made, privacy_key=data.privacy_key if data else "")
        sources = list(known)
        _carry_forgotten(made, out / CORPUS, progress)
        if gone := [name for name in known if _is_gone(name)]:
            progress.warn(
                f"{made}: the documents that it was made from are not there any more ({gone[0]}): "
                "its own texts are indexed, in which personal data may be masked"
            )
            return _indexed(_copied(made, out / CORPUS), out, config, progress)
    corpus = _prepared(sources, out, for_search(data or DataConfig()), progress)
    return _indexed(corpus.path, out, config, progress)


def update_index(
    out: Path | str, config: IndexConfig | None = None, *, progress: Progress = SILENT
) -> Artifact:
    """Bring an index up to its documents, which it knows, as they are now."""
    out = Path(out)
    data, sources = made_with(out / CORPUS)
    if config is None and artifact.is_artifact(out / KIND):
        known = artifact.read(out / KIND, kind=KIND).manifest.config
        config = from_mapping(IndexConfig, known, where=str(out / KIND))
    corpus = _prepared(sources, out, data, progress)
    return _indexed(corpus.path, out, config or IndexConfig(), progress)


def _indexed(corpus: Path, out: Path, config: IndexConfig, progress: Progress) -> Artifact:
    """First by words, then by meaning."""
    index_corpus(corpus, out / KIND, config, progress=progress)
    return embed_index(out, config.encoder or None, progress=progress)


def _prepared(
    sources: Sequence[str | Path], out: Path, data: DataConfig, progress: Progress
) -> Artifact:
    try:
        return prepare(
            sources, out / CORPUS, data, exclude=[out], training=False, progress=progress
        )
    except DataError as error:
        if not artifact.is_artifact(out / KIND):
            raise
        raise DataError(f"{error}; {out} still answers from what it had before") from None


def _corpus_in(sources: Sequence[str | Path], out: Path) -> Path | None:
    """The corpus that is meant, where one is named, or a project."""
    if len(sources) != 1 or not Path(sources[0]).is_dir():
        return None
    place = artifact.within(sources[0], CORPUS)
    if not artifact.is_artifact(place):
        return None
    kind = artifact.read(place).manifest.kind
    if kind != CORPUS:
        raise DataError(
            f"{sources[0]}: expected documents, a corpus or a project. Got a directory with "
            f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
        )
    return place


def _is_gone(source: str) -> bool:
    return Path(source).is_absolute() and not any(
        Path(place).exists() for place in (source, *glob.glob(source))
    )


def _carry_forgotten(corpus: Path, own: Path, progress: Progress) -> None:
    """What was forgotten in a corpus does not come back in one that is made of its documents."""
    theirs, ours = Forgotten.beside(corpus), Forgotten.beside(own)
    if not theirs or corpus.resolve() == own.resolve():
        return
    if ours and ours.salt != theirs.salt:
        progress.warn(
            f"{own} has a list of its own of what is forgotten: that of {corpus} is not used"
        )
        return
    ours.salt = theirs.salt
    for name in ("names", "paths", "contents", "texts", "readings"):
        getattr(ours, name).update(getattr(theirs, name))
    output.make_directory(ours.path.parent)
    ours.save()


def _copied(corpus: Path, out: Path) -> Path:
    """A corpus in another place."""
    made = artifact.read(corpus, kind=CORPUS)
    if corpus.resolve() == out.resolve():
        return out

    def write(draft: Draft) -> None:
        for name in made.manifest.files:
            output.make_directory((draft.path / name).parent)
            shutil.copyfile(made.path / name, draft.path / name)
        draft.stats.update(made.stats)

    volatile = tuple(name for name, entry in made.manifest.files.items() if entry.sha256 is None)
    manifest = made.manifest
    artifact.make(
        out, write, kind=CORPUS, format=manifest.format, config=manifest.config,
        inputs={role: entry.content for role, entry in manifest.inputs.items()},
        volatile=volatile, reuse=lambda found: found.content == made.content,
    )  # fmt: skip
    return out


def for_search(data: DataConfig) -> DataConfig:
    """The settings, but nothing is masked or dropped that somebody may look for."""
    changes = {
        "privacy": "keep", "privacy_key": "", "quality": ("off",), "min_characters": 1,
        "repeated_lines": 1.0, "held_out_share": 1.0, "languages": (), "evaluation_sets": (),
    }  # fmt: skip
    return replace(data, changes)


def index_corpus(
    corpus: Path | str,
    out: Path | str,
    config: IndexConfig | None = None,
    *,
    progress: Progress = SILENT,
) -> Artifact:
    """Bring the index at ``out`` up to what a corpus holds, dropped documents included."""
    made = artifact.read(corpus, kind=CORPUS)
    with CorpusTexts(made.path) as texts:
        return index_texts(texts, out, config, inputs={"corpus": made}, progress=progress)
