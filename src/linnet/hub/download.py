"""Fetching from the hub, into the cache that all of its tools share.

What is to be fetched, and how much it is, is known before the first byte: a disk
that is too small is said at once, and no more than was announced is ever written. A file goes to
``blobs/HASH.linnet-partial``, is taken up there after an interruption, and gets its name when the
hash is right; from then on it is what huggingface_hub would have written.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from filelock import Timeout

from linnet import artifact, output
from linnet.config import show
from linnet.errors import BusyError, ModelError, OutputError
from linnet.hub.session import (
    UnreachableError,
    broke_off,
    cache_directory,
    chunks,
    endpoint,
    get_json,
    hub_errors_named,
    is_offline,
    require_library,
    streamed,
)
from linnet.hub.source import Located, Source, parse
from linnet.output import (
    full_disk_named,
    hold,
    human_bytes,
    is_plain_name,
    open_to_append,
    refuse_links,
    write_text,
)
from linnet.progress import SILENT, Progress, Task

if TYPE_CHECKING:
    from linnet.artifact import Artifact, Draft

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
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_TRIES = 5  # of a transfer that breaks off after it brought something
_SPARE = 64 << 20  # bytes to leave free


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository. ``hash``: SHA-256 of a large one, Git's own of any other."""

    name: str
    size: int
    hash: str


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

    def write(draft: Draft) -> None:
        size = sum((found.path / name).stat().st_size for name in names)
        output.require_space(out, size, purpose=f"a copy of {found.name}")
        with progress.task(f"copying {found.name}", total=size, unit="bytes") as task:
            for name in names:
                (draft.path / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(found.path / name, draft.path / name)
                task.advance((found.path / name).stat().st_size)
        draft.stats.update(source=found.name, revision=found.revision, bytes=size)

    return artifact.make(out, write, kind=kind, format=1, config=config, inputs={})


def _download(source: Source, patterns: tuple[str, ...], progress: Progress) -> Located:
    """Fetch what is missing; the directory of the commit that the revision is now."""
    with hub_errors_named(source.name):
        place = f"{source.name}/revision/{quote(source.revision, safe='')}?blobs=true"
        info = get_json(f"{endpoint()}/api/models/{place}")
    listed = info.get("siblings") if isinstance(info, dict) else None
    listed = listed if isinstance(listed, list) else []
    commit = str(info.get("sha")) if isinstance(info, dict) else ""
    if not _COMMIT.fullmatch(commit):
        raise ModelError(f"{source}: the hub at {endpoint()} names no commit. Got {show(commit)}")
    files = [_remote(source, entry) for entry in listed if _is_wanted(entry, patterns)]
    chosen = _choose(source, files, patterns)
    storage = _storage(source)
    snapshot = storage / "snapshots" / commit
    missing = [file for file in chosen if not (snapshot / file.name).is_file()]
    partial = sum(_have(storage, file) for file in missing)
    size = sum(file.size for file in missing)
    _require_room(source, storage, size - partial)
    if missing:
        with (
            hub_errors_named(source.name),
            full_disk_named(storage),
            progress.task(f"fetching {source}", total=size, unit="bytes") as task,
        ):
            for file in missing:
                _fetch(source.name, commit, file, storage, task)
    if source.revision != commit:
        reference = storage / "refs" / source.revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        write_text(reference, commit)
    return Located(snapshot, source.name, commit)


def _is_wanted(entry: Any, patterns: tuple[str, ...]) -> bool:
    """Whether it may be fetched, or says what else a repository has instead of weights."""
    name = entry.get("rfilename") if isinstance(entry, dict) else None
    return isinstance(name, str) and (matches(name, patterns) or name.endswith(_PICKLES))


def _remote(source: Source, entry: dict[str, Any]) -> RemoteFile:
    """A file as the hub announces it. Raises ModelError where it says too little, or nonsense."""
    name, size, lfs = entry["rfilename"], entry.get("size"), entry.get("lfs")
    digest = lfs.get("sha256") if isinstance(lfs, dict) else entry.get("blobId")
    if not is_plain_name(name):
        raise ModelError(f"{source}: the hub names a file that can be none here: {show(name)}")
    if not isinstance(size, int) or not 0 <= size < 1 << 48:
        raise ModelError(f"{source}: the hub gives no size of {name}. Got {show(size)}")
    if not isinstance(digest, str) or not _HASH.fullmatch(digest):
        raise ModelError(f"{source}: the hub gives no hash of {name}. Got {show(digest)}")
    return RemoteFile(name, size, digest)


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
    return storage / "blobs" / f"{file.hash}.linnet-partial"


def _have(storage: Path, file: RemoteFile) -> int:
    """How much of a file is here already."""
    if (storage / "blobs" / file.hash).is_file():
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
    blob = storage / "blobs" / file.hash
    if blob.is_file():
        task.advance(file.size)
    else:
        _transfer(name, commit, file, storage, task)
    pointer = storage / "snapshots" / commit / file.name
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.unlink(missing_ok=True)
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:  # Windows without the right to; huggingface_hub does the same
        blob.replace(pointer)


def _transfer(name: str, commit: str, file: RemoteFile, storage: Path, task: Task) -> None:
    """Bring the bytes of a file, going on where an earlier run ended."""
    partial = _partial(storage, file)
    partial.parent.mkdir(parents=True, exist_ok=True)
    refuse_links(partial)
    url = f"{endpoint()}/{name}/resolve/{commit}/{quote(file.name)}"
    try:
        with hold(partial.with_name(f"{partial.name}.lock"), timeout=0):
            if partial.is_file() and partial.stat().st_size > file.size:
                partial.unlink()
            with open_to_append(partial) as opened:
                have = opened.seek(0, os.SEEK_END)
                task.advance(have)
                for last in (number == _TRIES for number in range(1, _TRIES + 1)):
                    try:
                        _receive(url, name, file, opened, task)
                        break
                    except Exception as error:
                        if last or not broke_off(error) or opened.tell() <= have:
                            raise
                        have = opened.tell()
            if _hash_of(partial, file) != file.hash:
                partial.unlink()
                raise ModelError(
                    f"{name}: {file.name} came damaged (its hash differs) and was deleted; "
                    "run the same command again"
                )
            partial.replace(partial.with_name(file.hash))
    except Timeout:
        raise BusyError(
            f"{name}: another process is downloading {file.name}; wait for it, then try again"
        ) from None


def _receive(url: str, name: str, file: RemoteFile, opened: IO[bytes], task: Task) -> None:
    """Write what is missing. Raises ModelError as soon as more comes than was announced."""
    from huggingface_hub import constants

    have = opened.tell()
    if have == file.size:
        return
    with streamed(url, {"Range": f"bytes={have}-"} if have else {}) as response:
        if have and response.status_code != 206:  # it sends all of it again
            opened.truncate(0)
            opened.seek(0)
            task.advance(-have)
            have = 0
        for chunk in chunks(response, constants.DOWNLOAD_CHUNK_SIZE):
            have += len(chunk)
            if have > file.size:
                opened.truncate(0)
                raise ModelError(
                    f"{name}: the hub sends more of {file.name} than the {file.size:,} bytes that "
                    "it announced; nothing of it was kept"
                )
            opened.write(chunk)
            task.advance(len(chunk))
    opened.flush()
    if have < file.size:
        raise UnreachableError(
            f"{name}: the hub sent {have:,} of {file.size:,} bytes of {file.name}; run the same "
            "command again: it goes on where it was"
        )


def _hash_of(path: Path, file: RemoteFile) -> str:
    if len(file.hash) == 64:
        return artifact.hash_file(path)
    digest = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)  # as Git does
    with path.open("rb") as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _in_cache(source: Source, patterns: tuple[str, ...]) -> Located | None:
    """What an earlier download left, if it is whole as far as can be seen without asking."""
    storage = _storage(source)
    commit = source.revision
    if not _COMMIT.fullmatch(commit):
        reference = storage / "refs" / source.revision
        commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else ""
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
