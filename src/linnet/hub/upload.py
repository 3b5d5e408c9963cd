"""Uploading a model or an adapter to the hub: when asked, and what was shown, no more.

Only files that a model consists of are taken, by name. State for resuming, logs
(they hold samples), manifests (they can name files of this machine) and whatever
else lies in the directory stay here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from linnet.config import read_json
from linnet.errors import ModelError
from linnet.hub.download import MODEL_FILES, listed, matches
from linnet.hub.session import LOGIN, api, hub_errors_named, is_offline, quiet, require_library
from linnet.hub.source import parse
from linnet.progress import SILENT, Progress

UPLOADED = (*MODEL_FILES, "*.gguf", "Modelfile")
_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_LOCAL_PATH = re.compile(
    r"(?<![\w:/.])(?:/(?:home|Users|root|tmp|mnt|media|data|work|srv|var)/|[A-Za-z]:\\)\S+"
)


@dataclass(frozen=True)
class Upload:
    """What would be uploaded, and to where; ``files`` are names with sizes in bytes."""

    directory: Path
    repository: str
    revision: str
    private: bool
    files: tuple[tuple[str, int], ...]
    left_out: tuple[str, ...]

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.files)


def plan_upload(
    directory: Path, repository: str, *, private: bool = True, revision: str = "main"
) -> Upload:
    """What :func:`push` would send. Nothing is sent, and the network is not used.

    Raises ModelError when ``directory`` is no model or adapter, when ``repository`` is
    not named as org/name, or when a file to be sent names a place on this machine.
    """
    named = parse(f"hf:{repository}")
    if named is None or "@" in repository or "/" not in repository:
        raise ModelError(f"a repository on the hub is named as org/name. Got '{repository}'")
    if not directory.is_dir():
        raise ModelError(f"{directory}: expected a model directory, but it does not exist")
    names = listed(directory)
    if not {"config.json", "adapter_config.json"} & set(names):
        raise ModelError(f"{directory}: expected a model or an adapter, but it has no config.json")
    chosen = [name for name in names if matches(name, UPLOADED)]
    if not any(name.endswith((".safetensors", ".gguf")) for name in chosen):
        raise ModelError(f"{directory}: expected weights in safetensors, but it has none")
    _require_public_base(directory)
    for name in chosen:
        _refuse_local_paths(directory, name)
    files = tuple((name, (directory / name).stat().st_size) for name in chosen)
    left_out = tuple(name for name in names if name not in chosen)
    return Upload(directory, repository, revision, private, files, left_out)


def push(upload: Upload, *, progress: Progress = SILENT) -> str:
    """Upload; returns the address of the commit. The repository is made if there is none.

    One commit: either all files are there or none. Raises ModelError without a token, or
    when the hub refuses it.
    """
    require_library(f"uploading to {upload.repository}")
    if is_offline():
        raise ModelError(f"{upload.repository}: offline; unset HF_HUB_OFFLINE to upload")
    from huggingface_hub import CommitOperationAdd, get_token

    with quiet():
        token = get_token()
    if token is None:
        raise ModelError(f"uploading to {upload.repository} needs an account: {LOGIN}")
    name = upload.repository
    with (
        hub_errors_named(name),
        progress.task(f"uploading to {name}", total=upload.bytes, unit="bytes"),
    ):
        hub = api()
        hub.create_repo(name, private=upload.private, exist_ok=True)
        if upload.revision != "main":
            hub.create_branch(name, branch=upload.revision, exist_ok=True)
        operations = [
            CommitOperationAdd(path_in_repo=file, path_or_fileobj=str(upload.directory / file))
            for file, _ in upload.files
        ]
        commit = hub.create_commit(
            name,
            operations,
            commit_message="Upload with Linnet",
            revision=upload.revision,
        )
    return str(commit.commit_url)


def _require_public_base(directory: Path) -> None:
    """An adapter is of use to others only with a base that they can get."""
    file = directory / "adapter_config.json"
    if not file.is_file():
        return
    try:
        base = read_json(file).get("base_model_name_or_path")
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{file} is damaged: {error}") from None
    if not isinstance(base, str) or not _NAME.fullmatch(base):
        raise ModelError(
            f"{file}: the adapter's base is a directory here ({base}), which nobody else has; "
            "push the merged model (linnet merge), or write the base's name on the hub there"
        )


def _refuse_local_paths(directory: Path, name: str) -> None:
    """No settings file or card may say where things lie here."""
    file = directory / name
    if file.suffix not in (".json", ".md") or file.name in ("tokenizer.json", "vocab.json"):
        return
    text = file.read_text(encoding="utf-8", errors="replace")
    found = _LOCAL_PATH.search(text)
    if found or str(directory.resolve()) in text:
        shown = found[0].strip('",')[:60] if found else str(directory.resolve())
        raise ModelError(
            f"{file} names a place on this machine ({shown}), which everybody could read; "
            "take it out, then push again"
        )
