"""Models from the hub, against a server on this machine that speaks its interface."""

from __future__ import annotations

import hashlib
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from hub_server import COMMIT, Hub, Repository, serving
from linnet import artifact
from linnet.errors import LinnetError, ModelError, OutputError, StoppedError
from linnet.hub import Located, Source, find, locate, parse, plan_upload, pull, push
from linnet.progress import Progress, Task

huggingface_hub = pytest.importorskip("huggingface_hub")

WEIGHTS = bytes(range(256)) * 400
SMALL = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "README.md": b"---\nlicense: mit\n---\n",
    "additional_chat_templates/tool.jinja": b"x",
}
NEVER = {
    "pytorch_model.bin": b"\x80pickle" * 500,
    "modeling_own.py": b"print('run')",
    "onnx/model.safetensors": WEIGHTS,
    "model-fp32.safetensors": WEIGHTS,
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    monkeypatch.chdir(tmp_path)
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        server.repositories["org/tiny"] = Repository(
            {**SMALL, **NEVER, "model.safetensors": WEIGHTS}, branches=("main", "v1")
        )
        yield server


class Recording(Progress):
    """Notes what it is told; ``stop_at`` bytes the user presses Ctrl-C."""

    def __init__(self, stop_at: float | None = None) -> None:
        self.stop_at = stop_at
        self.total: float | None = None
        self.done = 0.0
        self.warnings: list[str] = []

    @contextmanager
    def task(self, name: str, *, total: float | None = None, unit: str = "") -> Iterator[Task]:
        recording = self
        if unit == "bytes":
            self.total, self.done = total, 0.0

        class Noting(Task):
            def advance(self, amount: float = 1) -> None:
                recording.done += amount
                if recording.stop_at is not None and recording.done >= recording.stop_at:
                    raise KeyboardInterrupt

        yield Noting()

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def names(directory: Path) -> set[str]:
    return {p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()}


def test_what_is_a_path_and_what_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out" / "model").mkdir(parents=True)
    for path in ("out/model", "out/modle", "./org/name", "/a/b", "~/b", "a/b/c", "gpt2", "a\\b"):
        assert parse(path) is None, path
    assert parse("org/name") == Source("org/name")
    assert parse("org/name@v1.0") == Source("org/name", "v1.0")
    assert parse("org/name@refs/pr/1") == Source("org/name", "refs/pr/1")
    assert parse("hf:gpt2") == Source("gpt2")
    assert parse("hf:out/model@main") == Source("out/model")
    for wrong in ("hf:", "hf:a/b/c", "hf:../x", "hf:a@../../x"):
        with pytest.raises(ModelError, match="named as org/name@revision"):
            parse(wrong)
    assert find(Path("org/name")) == Located(Path("org/name"))
    assert find("out/model") == Located(Path("out/model"))
    with pytest.raises(ModelError, match="only a name on the hub"):
        find("out/model", revision="v1")


def test_fetches_what_a_model_is_and_nothing_else(hub: Hub) -> None:
    progress = Recording()
    found = find("org/tiny", progress=progress)
    assert (found.name, found.revision, found.pin) == ("org/tiny", COMMIT, f"org/tiny@{COMMIT}")
    assert names(found.path) == {*SMALL, "model.safetensors"}
    assert (found.path / "model.safetensors").read_bytes() == WEIGHTS
    wanted = sum(map(len, SMALL.values())) + len(WEIGHTS)
    assert progress.total == progress.done == wanted
    asked = {name for name in NEVER if hub.asked("GET", f"/{COMMIT}/{name}")}
    assert asked == set()


def test_what_is_there_is_not_fetched_again(hub: Hub) -> None:
    locate("org/tiny")
    hub.requests.clear()
    assert find("org/tiny@v1").revision == COMMIT
    assert [path for _, path, _ in hub.requests] == ["/api/models/org/tiny/revision/v1"]
    hub.requests.clear()
    assert find(f"org/tiny@{COMMIT}").revision == COMMIT
    assert find("org/tiny", revision=COMMIT).revision == COMMIT
    assert hub.requests == []


def test_the_cache_is_the_one_that_other_tools_read(hub: Hub, tmp_path: Path) -> None:
    found = find("org/tiny")
    theirs = huggingface_hub.hf_hub_download(
        "org/tiny", "model.safetensors", cache_dir=tmp_path / "cache", local_files_only=True
    )
    assert Path(theirs) == found.path / "model.safetensors"
    shutil.rmtree(tmp_path / "cache")
    huggingface_hub.snapshot_download(
        "org/tiny", cache_dir=tmp_path / "cache", endpoint=hub.endpoint
    )
    hub.requests.clear()
    assert find(f"org/tiny@{COMMIT}").path == found.path
    assert hub.requests == []


@pytest.mark.parametrize("ignores_ranges", [False, True])
def test_goes_on_where_it_was_interrupted(hub: Hub, ignores_ranges: bool) -> None:
    hub.ignores_ranges = ignores_ranges
    with pytest.raises(KeyboardInterrupt):
        find("org/tiny", progress=Recording(stop_at=50_000))
    hub.requests.clear()
    found = find("org/tiny")
    assert (found.path / "model.safetensors").read_bytes() == WEIGHTS
    (headers,) = [h for verb, path, h in hub.requests if verb == "GET" and "model.saf" in path]
    start = int(headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 30_000 < start < 60_000


def test_damage_is_found(hub: Hub, tmp_path: Path) -> None:
    partial = tmp_path / "cache" / "models--org--tiny" / "blobs"
    partial.mkdir(parents=True)
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    (partial / f"{digest}.linnet-partial").write_bytes(b"not the beginning of it")
    with pytest.raises(ModelError, match="came damaged"):
        find("org/tiny")
    assert (find("org/tiny").path / "model.safetensors").read_bytes() == WEIGHTS


def test_a_disk_that_is_too_small_is_said_before_downloading(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=70 << 10))
    with pytest.raises(OutputError, match=r"takes 102\.4 KB more, but only 71\.7 KB are free"):
        find("org/tiny")
    assert hub.asked("GET", "resolve") == []


def test_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="offline; run once with a connection"):
        find("org/tiny", offline=True)
    assert hub.requests == []
    found = find("org/tiny")
    hub.requests.clear()
    assert find("org/tiny", offline=True) == found
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert find("org/tiny") == found
    with pytest.raises(ModelError, match="offline"):
        find("org/tiny@v1")
    (found.path / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="not wholly"):
        find("org/tiny")
    assert hub.requests == []


def test_no_connection(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find("org/tiny")
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        progress = Recording()
        assert find("org/tiny", progress=progress) == found
        assert progress.warnings == [
            "org/tiny: the hub does not answer; using what was downloaded before"
        ]
        with pytest.raises(ModelError, match=r"does not answer .* check the connection"):
            find("org/other")


def test_says_what_is_wrong_with_a_repository(hub: Hub) -> None:
    hub.repositories["org/gated"] = Repository({"model.safetensors": WEIGHTS}, gated=True)
    hub.repositories["org/pickled"] = Repository({**SMALL, "pytorch_model.bin": WEIGHTS})
    hub.repositories["org/quantised"] = Repository({**SMALL, "model-q8.gguf": WEIGHTS})
    for source, said in (
        ("org/missing", r"no such repository .*, or it is private"),
        ("org/tiny@v9", "no such revision"),
        ("org/gated", rf"accept them at {hub.endpoint}/org/gated, then log in"),
        ("org/pickled", r"only weights are pickles \(pytorch_model.bin\).*save_pretrained"),
        ("org/quantised", "expected weights as model.safetensors"),
    ):
        with pytest.raises(LinnetError, match=said) as caught:
            find(source)
        assert "\n" not in str(caught.value)
    assert not hub.asked("GET", "pytorch_model.bin")


def test_weights_that_are_there_twice_are_fetched_once(hub: Hub) -> None:
    parts = {f"model-0000{n}-of-00002.safetensors": WEIGHTS + bytes([n]) for n in (1, 2)}
    index = {"model.safetensors.index.json": b"{}"}
    hub.repositories["org/split"] = Repository({**SMALL, **parts, **index})
    found = find("org/split")
    assert names(found.path) == {*SMALL, *parts, *index}
    assert find("org/split", offline=True) == found
    hub.repositories["org/both"] = Repository({**hub.repositories["org/split"].files})
    hub.repositories["org/both"].files["model.safetensors"] = WEIGHTS
    assert names(locate("org/both")) == {*SMALL, "model.safetensors"}


def test_names_that_reach_outside_are_not_followed(hub: Hub, tmp_path: Path) -> None:
    files = hub.repositories["org/tiny"].files
    files["../../../../config.json"] = b"{}"
    files["../escaped.model"] = b"{}"
    assert names(locate("org/tiny")) == {*SMALL, "model.safetensors"}
    assert not (tmp_path / "config.json").exists()


def test_tells_the_hub_nothing_about_this_machine(hub: Hub) -> None:
    import torch

    find("org/tiny")
    for verb, path, headers in hub.requests:
        assert verb in ("GET", "HEAD")
        assert path.startswith(("/api/models/org/tiny", "/org/tiny/resolve/"))
        (agent,) = [v for name, v in headers.items() if name.lower() == "user-agent"]
        assert "torch" not in agent.lower()
        assert torch.__version__ not in agent


def test_pull_makes_a_directory_that_knows_its_commit(hub: Hub, tmp_path: Path) -> None:
    made = pull("org/tiny", tmp_path / "model")
    assert names(made.path) - {"manifest.json"} == {*SMALL, "model.safetensors"}
    assert not any(path.is_symlink() for path in made.path.rglob("*"))
    assert made.manifest.config == {"source": "org/tiny", "revision": COMMIT}
    before = (made.path / "manifest.json").stat().st_mtime_ns
    assert pull("org/tiny", tmp_path / "model").content == made.content
    assert (made.path / "manifest.json").stat().st_mtime_ns == before
    artifact.read(made.path, kind="model", verify=True)
    with pytest.raises(ModelError, match="expected a name on the hub"):
        pull(str(made.path), tmp_path / "again")


def model_directory(path: Path) -> Path:
    """What training leaves, with things in it that are nobody else's business."""
    path.mkdir()
    for name, data in SMALL.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(data)
    (path / "model.safetensors").write_bytes(WEIGHTS)
    (path / "state").mkdir()
    for name in ("manifest.json", "metrics.jsonl", "state/state.safetensors", "samples.json"):
        (path / name).write_text('{"sample": "private"}')
    return path


def test_push_sends_the_model_and_keeps_the_rest(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = model_directory(tmp_path / "model")
    planned = plan_upload(directory, "me/new")
    assert {name for name, _ in planned.files} == {*SMALL, "model.safetensors"}
    assert set(planned.left_out) == {
        "manifest.json",
        "metrics.jsonl",
        "samples.json",
        "state/state.safetensors",
    }
    assert hub.requests == []
    with pytest.raises(ModelError, match="needs an account: log in with 'hf auth login'"):
        push(planned)
    assert hub.requests == []
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    hub.token = "hf_right"
    with pytest.raises(ModelError, match=r"does not allow it .*hf auth login"):
        push(planned)
    assert hub.commits == []
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert push(planned) == f"{hub.endpoint}/me/new/commit/{COMMIT}"
    there = hub.repositories["me/new"]
    assert there.private
    assert there.files == {**SMALL, "model.safetensors": WEIGHTS}
    assert len(hub.commits) == 1
    push(plan_upload(directory, "me/new", revision="trial"))
    assert hub.commits[1]["branch"] == "trial"
    push(plan_upload(directory, "me/open", private=False))
    assert not hub.repositories["me/open"].private
    assert (locate("me/new") / "model.safetensors").read_bytes() == WEIGHTS


def test_push_refuses_what_nobody_should_get(hub: Hub, tmp_path: Path) -> None:
    directory = model_directory(tmp_path / "model")
    for name in ("new", "a/b/c", "me/new@main", "../x/y", ""):
        with pytest.raises(ModelError, match="named as org/name"):
            plan_upload(directory, name)
    with pytest.raises(ModelError, match="does not exist"):
        plan_upload(tmp_path / "absent", "me/new")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"no config\.json"):
        plan_upload(tmp_path / "empty", "me/new")
    for leak in ('{"_name_or_path": "/home/jane/secret"}', f'{{"base": "{directory}"}}'):
        (directory / "config.json").write_text(leak)
        with pytest.raises(ModelError, match="names a place on this machine"):
            plan_upload(directory, "me/new")
    (directory / "config.json").unlink()
    (directory / "adapter_config.json").write_text('{"base_model_name_or_path": "../base"}')
    with pytest.raises(ModelError, match="base is a directory here"):
        plan_upload(directory, "me/new")
    (directory / "adapter_config.json").write_text('{"base_model_name_or_path": "org/tiny"}')
    assert plan_upload(directory, "me/new").bytes
    assert hub.requests == []


def test_the_commands(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from linnet.cli.pull import app as pull_command
    from linnet.cli.push import app as push_command

    run = CliRunner().invoke
    done = run(pull_command, ["org/tiny", "--out", "model"])
    assert (done.exit_code, done.stdout) == (0, f"model: org/tiny at commit {COMMIT}\n")
    assert run(pull_command, ["org/tiny"]).stdout.startswith(f"org/tiny@{COMMIT}: in ")
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    hub.token = "hf_right"
    asked = run(push_command, ["model", "me/new"])
    assert isinstance(asked.exception, StoppedError)
    assert "model.safetensors  102.4 KB" in asked.stdout
    assert "private" in asked.stdout
    assert "stays here: manifest.json" in asked.stdout
    assert hub.commits == []
    done = run(push_command, ["model", "me/new", "--yes"])
    assert done.exit_code == 0
    assert f"uploaded: {hub.endpoint}/me/new/commit/{COMMIT}" in done.stdout
