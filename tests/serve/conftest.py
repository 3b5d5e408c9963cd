"""Nothing of the tests reads or writes the user's own settings."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted import Running, ScriptedEngine, serving


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.setenv("APPDATA", str(tmp_path / "settings"))
    monkeypatch.delenv("LINNET_API_KEY", raising=False)


@pytest.fixture(scope="module")
def tiny_server() -> Iterator[Running]:
    with serving(ScriptedEngine()) as running:
        yield running
