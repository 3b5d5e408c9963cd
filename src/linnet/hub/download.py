"""Fetching from the hub, into the cache that all of its tools share.

What is to be fetched, and how much it is, is known before the first byte: a disk
that is too small is said at once. Weights go to ``blobs/HASH.linnet-partial``,
are taken up there after an interruption, and get their name when the hash is
right; from then on they are what huggingface_hub would have written.
"""

from __future__ import annotations

import fnmatch
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from linnet import artifact
from linnet.errors import BusyError, ModelError, OutputError
from linnet.hub.session import (
    UnreachableError,
    api,
    asking,
    cache_directory,
    endpoint,
    is_offline,
    require_library,
)
from linnet.hub.source import Located, Source, parse
from linnet.output import full_disk_named, human_bytes
from linnet.progress import SILENT, Progress, Task

if TYPE_CHECKING:
    from linnet.artifact import Artifact

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
)
MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
    "adapter_config.json",
    "adapter_model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "*_Pooling/config.json",
    "README.md",
    "LICENSE*",
    *TOKENIZER_FILES,
)
_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model")
_WEIGHTS = "model.safetensors"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SPARE = 64 << 20  # bytes to leave free


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository; ``sha256`` is known of large ones."""

    name: str
    size: int
    sha256: str | None


def locate(
    source: Path | str,
    *,
    revision: str | None = None,
    patterns: tuple[str, ...] = MODEL_FILES,
    offline: bool = False,
    progress: Progress = SILENT,
) -> Path:
    """As :func:`find`, but just the directory."""
    return find(
        source, revision=revision, patterns=patterns, offline=offline, progress=progress
    ).path


def find(
    source: Path | str,
    *,
    revision: str | None = None,
    patterns: tuple[str, ...] = MODEL_FILES,
    offline: bool = False,
    progress: Progress = SILENT,
) -> Located:
    """The directory with a model's files, downloaded first where it must be.

    A Path, and a text that :func:`parse` takes for a path, is returned as it is, or as the
    model in it where it is a project. Raises
    ModelError when the hub has no such thing or does not give it, OutputError
    when the disk has no room for it.
    """
    named = None if isinstance(source, Path) else parse(source)
    if named is None:
        if revision is not None:
            raise ModelError(
                f"{source}: only a name on the hub, such as org/name, has a revision. "
                f"Got '{revision}' for a directory"
            )
        return Located(artifact.within(Path(source).expanduser(), "model"))
    named = Source(named.name, revision or named.revision)
    require_library(f"fetching {named}")
    cached = _in_cache(named, patterns)
    if cached is not None and _COMMIT.fullmatch(named.revision):
        return cached
    if offline or is_offline():
        if cached is None:
            raise ModelError(
                f"{named}: not (or not wholly) among what was downloaded to {cache_directory()}, "
                "and offline; run once with a connection, or unset HF_HUB_OFFLINE"
            )
        return cached
    try:
        return _download(named, patterns, progress)
    except UnreachableError:
        if cached is None:
            raise
        progress.warn(f"{named}: the hub does not answer; using what was downloaded before")
        return cached


def pull(
    source: str,
    out: Path,
    *,
    revision: str | None = None,
    progress: Progress = SILENT,
) -> Artifact:
    """Make a directory of a model or adapter from the hub; the commit stands in its manifest."""
    found = find(source, revision=revision, progress=progress)
    if found.name is None:
        raise ModelError(f"{source}: expected a name on the hub, such as org/name or hf:name")
    names = [n for n in listed(found.path) if matches(n, MODEL_FILES)]
    kind = "adapter" if "adapter_config.json" in names else "model"
    config = {"source": found.name, "revision": found.revision}
    recipe = artifact.recipe_hash(kind, 1, config, {})
    if existing := artifact.current(out, recipe, kind=kind):
        return existing
    size = sum((found.path / name).stat().st_size for name in names)
    artifact.require_space(out, size, purpose=f"a copy of {found.name}")
    with artifact.create(out, kind=kind, format=1, config=config, inputs={}) as draft:
        with progress.task(f"copying {found.name}", total=size, unit="bytes") as task:
            for name in names:
                (draft.path / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(found.path / name, draft.path / name)
                task.advance((found.path / name).stat().st_size)
        draft.stats.update(source=found.name, revision=found.revision, bytes=size)
    return artifact.read(out, kind=kind)


def _download(source: Source, patterns: tuple[str, ...], progress: Progress) -> Located:
    """Fetch what is missing; the directory of the commit that the revision is now."""
    with asking(source.name):
        info = api().model_info(source.name, revision=source.revision, files_metadata=True)
    commit = str(info.sha)
    if not _COMMIT.fullmatch(commit):
        raise ModelError(f"{source}: the hub at {endpoint()} names no commit. Got {commit!r}")
    files = [_remote(sibling) for sibling in info.siblings or []]
    chosen = _choose(source, files, patterns)
    storage = _storage(source)
    snapshot = storage / "snapshots" / commit
    missing = [file for file in chosen if not (snapshot / file.name).is_file()]
    partial = sum(_have(storage, file) for file in missing)
    size = sum(file.size for file in missing)
    _require_room(source, storage, size - partial)
    if missing:
        with (
            asking(source.name),
            full_disk_named(storage),
            progress.task(f"fetching {source}", total=size, unit="bytes") as task,
        ):
            for file in missing:
                _fetch(source.name, commit, file, storage, task)
    if source.revision != commit:
        reference = storage / "refs" / source.revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit, encoding="ascii")
    return Located(snapshot, source.name, commit)


def _remote(sibling: Any) -> RemoteFile:
    lfs = sibling.lfs
    digest = None if lfs is None else str(lfs.sha256 if hasattr(lfs, "sha256") else lfs["sha256"])
    known = digest if digest and _SHA256.fullmatch(digest) else None
    return RemoteFile(str(sibling.rfilename), int(sibling.size or 0), known)


def _choose(source: Source, files: list[RemoteFile], patterns: tuple[str, ...]) -> list[RemoteFile]:
    """The files worth fetching. Raises ModelError where there are no weights but pickles."""
    chosen = [file for file in files if matches(file.name, patterns)]
    names = {file.name for file in chosen}
    if _WEIGHTS in names:  # some repositories hold the same weights split as well
        chosen = [
            f for f in chosen if not fnmatch.fnmatch(f.name, "model[-.]*.*") or f.name == _WEIGHTS
        ]
    if _WEIGHTS in patterns and not any(name.endswith(".safetensors") for name in names):
        pickled = [file.name for file in files if file.name.endswith(_PICKLES)]
        if pickled:
            raise ModelError(
                f"{source}: its only weights are pickles ({pickled[0]}), which can run any code "
                "when loaded; ask its owner for safetensors, or convert it where you trust it: "
                "AutoModel.from_pretrained(NAME).save_pretrained(DIRECTORY) of transformers"
            )
        raise ModelError(
            f"{source}: expected weights as model.safetensors, but it has none; "
            f"see {endpoint()}/{source.name}/tree/main"
        )
    if not chosen:
        raise ModelError(f"{source}: has none of the files {', '.join(patterns)}")
    return chosen


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """As a shell would: ``*`` does not reach into folders."""
    return any(
        fnmatch.fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")
        for pattern in patterns
    )


def _storage(source: Source) -> Path:
    """The repository's folder in the cache, as huggingface_hub lays it out."""
    return cache_directory() / f"models--{source.name.replace('/', '--')}"


def _partial(storage: Path, file: RemoteFile) -> Path:
    return storage / "blobs" / f"{file.sha256}.linnet-partial"


def _have(storage: Path, file: RemoteFile) -> int:
    """How much of a file is here already."""
    if file.sha256 is None:
        return 0
    if (storage / "blobs" / file.sha256).is_file():
        return file.size
    partial = _partial(storage, file)
    return min(partial.stat().st_size, file.size) if partial.is_file() else 0


def _require_room(source: Source, storage: Path, needed: int) -> None:
    place = storage
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > 0 and free < needed + _SPARE:
        raise OutputError(
            f"{source} takes {human_bytes(needed)} more, but only {human_bytes(free)} are free at "
            f"{cache_directory()}; free some, or set HF_HOME to a directory on a larger disk"
        )


def _fetch(name: str, commit: str, file: RemoteFile, storage: Path, task: Task) -> None:
    from huggingface_hub import hf_hub_download

    if file.sha256 is not None and not (storage / "blobs" / file.sha256).is_file():
        _transfer(name, commit, file, storage, task)
    else:
        task.advance(file.size)
    hf_hub_download(name, file.name, revision=commit, cache_dir=storage.parent, endpoint=endpoint())


def _transfer(name: str, commit: str, file: RemoteFile, storage: Path, task: Task) -> None:
    """Bring the bytes of a large file, going on where an earlier run ended."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    partial = _partial(storage, file)
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{partial}.lock", timeout=0):
            if partial.is_file() and partial.stat().st_size > file.size:
                partial.unlink()
            with partial.open("ab") as opened:
                have = opened.tell()
                task.advance(have)
                http_get(
                    hf_hub_url(name, file.name, revision=commit, endpoint=endpoint()),
                    _Counted(opened, task),  # type: ignore[arg-type]
                    resume_size=have,
                    headers={**build_hf_headers(), "Accept-Encoding": "identity"},
                    expected_size=file.size,
                )
            if artifact.hash_file(partial) != file.sha256:
                partial.unlink()
                raise ModelError(
                    f"{name}: {file.name} came damaged (its hash differs) and was deleted; "
                    "run the same command again"
                )
            partial.replace(partial.with_name(str(file.sha256)))
    except Timeout:
        raise BusyError(
            f"{name}: another process is downloading {file.name}; wait for it, then try again"
        ) from None


class _Counted:
    """A file that tells a task how much is written to it."""

    def __init__(self, file: Any, task: Task) -> None:
        self._file, self._task = file, task

    def write(self, data: bytes) -> int:
        written = int(self._file.write(data))
        self._task.advance(written)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _in_cache(source: Source, patterns: tuple[str, ...]) -> Located | None:
    """What an earlier download left, if it is whole as far as can be seen without asking."""
    storage = _storage(source)
    commit = source.revision
    if not _COMMIT.fullmatch(commit):
        reference = storage / "refs" / source.revision
        commit = reference.read_text(encoding="ascii").strip() if reference.is_file() else ""
    snapshot = storage / "snapshots" / commit
    if not _COMMIT.fullmatch(commit) or not snapshot.is_dir():
        return None
    names = [name for name in listed(snapshot) if matches(name, patterns)]
    whole = any(matches(name, _VOCABULARIES) for name in names)
    if _WEIGHTS in patterns:
        whole = _has_weights(snapshot, names) and (whole or "adapter_config.json" in names)
    return Located(snapshot, source.name, commit) if whole else None


def _has_weights(snapshot: Path, names: list[str]) -> bool:
    if "adapter_model.safetensors" in names:
        return True
    if "config.json" not in names:
        return False
    split = [name for name in names if fnmatch.fnmatch(name, "model-*-of-*.safetensors")]
    counts = {name.rsplit("-of-", 1)[1].partition(".")[0] for name in split}
    all_there = any(count.isdigit() and int(count) == len(split) for count in counts)
    return _WEIGHTS in names or (f"{_WEIGHTS}.index.json" in names and all_there)


def listed(directory: Path) -> list[str]:
    """The files in a directory and its folders whose content is here."""
    found = (path for path in directory.rglob("*") if path.is_file())
    return sorted(path.relative_to(directory).as_posix() for path in found)
