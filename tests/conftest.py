"""A tiny project and a browser, made once for all tests that need one."""

import io
import os
import shutil
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any

# The tests run in two processes (pyproject.toml), so each keeps to one thread; before torch starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

from linnet.data.executor import ProcessPool
from reading_here import ReadingHere
from running_here import Here, running_here
from tiny_project import SETTINGS, TinyProject, write_notes

READERS = ("linnet.data.preparation.ProcessPool", "linnet.data.masked.ProcessPool")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

# The same examples in every run; `pytest -m slow` searches with fresh ones (test_properties.py).
# However long they take: machines are busy.
PATIENT: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("seeded", derandomize=True, **PATIENT)
settings.register_profile("fresh", derandomize=False, max_examples=1000, **PATIENT)
settings.load_profile("seeded")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole projects first: their files take longest, and at the end one worker would be left with
    the last of them. Pages last: after playwright has begun, its event loop runs in the thread of
    the tests, where ``asyncio.run`` then fails. Of these the longest first, so that both workers
    end together."""
    here = Path(__file__).parent
    found = {item.path for item in items if "chromium" in getattr(item, "fixturenames", ())}
    pages = {path: path.stat().st_size for path in found}
    items.sort(key=lambda item: (pages.get(item.path, inf), item.path.parent == here), reverse=True)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is made once and kept is kept for the tests alone, not among the user's own; and the
    user's keys are not theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("settings")))
        yield


@pytest.fixture(scope="module")
def reading_here() -> Iterator[None]:
    """Documents are read in this process; for modules that are about what comes after."""
    with pytest.MonkeyPatch.context() as patch:
        for reader in READERS:
            patch.setattr(reader, ReadingHere)
        yield


@pytest.fixture
def reading_confined(reading_here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the tests of such a module that are about those processes."""
    for reader in READERS:
        monkeypatch.setattr(reader, ProcessPool)


@pytest.fixture(scope="module")
def undrawn() -> Iterator[None]:
    """Pictures are empty, since drawing takes longer than the tiny runs that they are of; for
    modules that look at none (those of tests/train/test_plots.py are drawn)."""
    from matplotlib.figure import Figure

    def savefig(figure: Figure, file: io.StringIO | Path, **options: Any) -> None:
        if isinstance(file, Path):
            file.write_bytes(b"\x89PNG\r\n\x1a\n")
        else:
            file.write("<svg/>")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", savefig)
        yield


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Here:
    """Runs a command as it is typed, without a process of its own."""
    return running_here(monkeypatch, capfdbinary)


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """Not to be changed: see ``tiny``."""
    root = tmp_path_factory.mktemp("built")
    write_notes(root / "docs")
    made = TinyProject(root / "docs", root / "project")
    made.build(*SETTINGS)
    return made


@pytest.fixture
def tiny(built_once: TinyProject, tmp_path: Path) -> TinyProject:
    """A copy of the built project with its documents."""
    shutil.copytree(built_once.documents, tmp_path / "docs")
    shutil.copytree(built_once.path, tmp_path / "project")
    file = tmp_path / "project" / "linnet.toml"
    before, after = str(built_once.documents), str(tmp_path / "docs")
    file.write_text(file.read_text("utf-8").replace(before, after), encoding="utf-8")
    return TinyProject(tmp_path / "docs", tmp_path / "project")


@pytest.fixture
def fresh(built_once: TinyProject, tmp_path: Path) -> TinyProject:
    """The same documents, and nothing built yet."""
    shutil.copytree(built_once.documents, tmp_path / "docs")
    return TinyProject(tmp_path / "docs", tmp_path / "project")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless browser, the only one of its process; without one, tests of pages are skipped."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"there is no browser: none of {', '.join(BROWSERS)} is installed")
    with sync_api.sync_playwright() as playwright:
        # CI runs as root in a container, where Chromium's own sandbox cannot be set up.
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()
