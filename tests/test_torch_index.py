"""Which build of PyTorch ``make`` takes: decided by driver, machine and reachability."""

import http.server
import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "torch_index.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("torch_index", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(module, "DRIVER", tmp_path / "none")
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return module


@pytest.fixture
def index() -> Iterator[str]:
    """A package index that has PyTorch."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/cpu/torch/" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/cpu"
    server.shutdown()
    server.server_close()


def test_without_a_driver_the_cpu_build(
    script: ModuleType, index: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.choose(index) == index
    assert "taking PyTorch's CPU build" in capsys.readouterr().err


def test_where_the_index_does_not_answer_the_usual_build(
    script: ModuleType, index: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.choose(index.replace("/cpu", "/other")) == ""
    assert script.choose("http://127.0.0.1:9/cpu") == ""
    assert "make TORCH_INDEX=URL" in capsys.readouterr().err


@pytest.mark.parametrize("case", ["driver file", "nvidia-smi", "arm", "mac"])
def test_elsewhere_nobody_is_asked(
    script: ModuleType, case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if case == "driver file":
        (tmp_path / "version").touch()
        monkeypatch.setattr(script, "DRIVER", tmp_path / "version")
    elif case == "nvidia-smi":
        monkeypatch.setattr(script.shutil, "which", lambda name: f"/usr/bin/{name}")
    elif case == "arm":
        monkeypatch.setattr(script.platform, "machine", lambda: "aarch64")
    else:
        monkeypatch.setattr(script.sys, "platform", "darwin")

    def asked(index: str) -> bool:
        raise AssertionError(f"{index} was asked")

    monkeypatch.setattr(script, "reachable", asked)
    assert script.choose("http://127.0.0.1:9/cpu") == ""
