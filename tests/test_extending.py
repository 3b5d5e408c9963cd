"""The changes of docs/extending.md, made to a copy of the package: each does what the page says."""

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "extending.md"
BLOCK = re.compile(r"(?:^`(src/\S+)`\n\n)?^```(python|diff|python check)\n(.*?)^```$", re.M | re.S)


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.+)$", PAGE.read_text("utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def patched(text: str, diff: str) -> str:
    """``text`` with a block of a diff applied, which must fit in one place."""
    lines = diff.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    assert text.count(before) == 1, f"not exactly once in the file:\n{before}"
    return text.replace(before, after)


def changes(section: str) -> list[tuple[str, str, str]]:
    """The blocks of a section: the path that each is about, its kind and its text."""
    found, path = [], ""
    for named, kind, text in BLOCK.findall(section):
        path = named or path
        found.append((path, kind, text))
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each check said, when all of them ran in one process on the changed copy."""
    place = tmp_path_factory.mktemp("extended")
    # What is compiled comes along, and counts: files keep their times.
    shutil.copytree(ROOT / "src" / "linnet", place / "src" / "linnet")
    program = "import traceback\n"
    for title, section in sections().items():
        for path, kind, text in changes(section):
            if kind == "python check":
                program += f"try:\n{textwrap.indent(text, '    ')}"
                program += f"except BaseException:\n    print({title!r}, traceback.format_exc())\n"
                program += f"else:\n    print({title!r}, 'holds')\n"
                program += "print('\\0')\n"
                continue
            file = place / path
            if kind == "python":
                assert not file.exists(), f"{path} is there already"
                file.write_text(text, "utf-8")
            else:
                file.write_text(patched(file.read_text("utf-8"), text), "utf-8")
    (place / "checks.py").write_text(program, "utf-8")
    work = place / "work"
    work.mkdir()
    paths = [str(place / "src"), str(ROOT / "tests" / "serve")]
    begin = f"import sys; sys.path[:0] = {paths!r}; exec(open('../checks.py').read())"
    done = subprocess.run(
        [sys.executable, "-c", begin], cwd=work, capture_output=True, text=True, timeout=300
    )
    found = {}
    for part in done.stdout.split("\0\n"):
        for title in sections():
            if part.startswith(title):
                found[title] = part.removeprefix(title).strip()
    found[""] = done.stderr
    return found


@pytest.mark.parametrize("title", sections())
def test_a_change_of_the_page_does_what_it_says(title: str, results: dict[str, str]) -> None:
    assert results.get(title) == "holds", results.get(title, results[""])


def test_the_page_counts_the_files_that_are_touched() -> None:
    table = PAGE.read_text("utf-8").split("\n## ")[0]
    rows = re.findall(r"^\| an? (.+?) \|(.*?)\|(.*?)\|", table, re.M)
    titles = [re.sub(r"^An? ", "", title) for title in sections()]
    assert [name for name, _, _ in rows] == titles
    for (_, new, elsewhere), section in zip(rows, sections().values(), strict=True):
        blocks = [(path, kind) for path, kind, _ in changes(section) if kind != "python check"]
        created = {path for path, kind in blocks if kind == "python"}
        edited = {path for path, kind in blocks if kind == "diff"}
        assert len(created) == bool(new.strip())
        assert not created & edited
        named = re.findall(r"`(.+?)`", elsewhere)
        assert len(named) == len(edited)
        assert all(any(path.endswith(name) for path in edited) for name in named)
