"""What patterns leave out, against git itself."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from linnet.data.files import scan
from linnet.data.sources.gitignore import Patterns
from linnet.errors import DataError

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
# The example of gitignore(5), and lines that are easy to get wrong.
LINES = [
    "*.txt", "!b.txt", "a/", "!a/", "/a", "/a/b", "a/*", "!a/b.txt", "**/b", "b/**", "a/**/b.txt",
    "*", "!*/", "!*.txt", "/*", "!/a", "[ab].txt", "[!a]*", "?.txt", "a\\*.txt", "\\#c.txt", "#b",
    "b.txt  ", "b.txt\\ ", "[a-", "[]a].txt", "**", "**/", "a**b", "x[[:digit:]].txt", "/**/b/",
    "[\\]b].txt", "a\\", "!", "/", "[^a].txt", "*b*.t?t", "a/b/c/", "!b/",
]  # fmt: skip
NAMES = ["a", "b", "c.txt", "b.txt", "a*.txt", "#c.txt", "ab.txt", "x1.txt", "b.txt ", "].txt"]


def _tree(root: Path, chance: random.Random) -> None:
    folders = [root, root / "a", root / "b", root / "a/b", root / "b/a", root / "a/b/c", root / "c"]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    for folder in folders:
        for name in chance.sample(NAMES, 6):
            if not (folder / name).is_dir():
                (folder / name).write_text("text")


def _kept_by_git(root: Path) -> set[str]:
    listed = subprocess.run(
        ["git", "-c", "core.quotepath=off", "ls-files", "-z", "--others", "--exclude-standard"],
        cwd=root, check=True, capture_output=True, text=True,
    )  # fmt: skip
    names = (name for name in listed.stdout.split("\0") if name)
    return {name for name in names if not name.endswith(".gitignore")}


@needs_git
def test_the_same_files_are_kept_as_by_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    for seed in range(60):
        chance = random.Random(seed)
        root = tmp_path / f"r{seed}"
        root.mkdir()
        subprocess.run(["git", "init", "-q", str(root)], check=True)
        _tree(root, chance)
        for folder in ("", "a", "b/a"):
            if folder == "" or chance.random() < 0.4:
                lines = chance.sample(LINES, chance.randint(1, 5))
                (root / folder / ".gitignore").write_text("\n".join(lines) + "\n")
        (root / ".git/info/exclude").write_text(chance.choice(LINES) + "\n")
        found = scan([root], gitignore=True)
        kept = {file.group for file in found.files}
        assert kept == _kept_by_git(root), {
            str(path): path.read_text() for path in root.rglob(".gitignore")
        }
        inner = scan([root / "a"], gitignore=True)  # what stands above counts too
        if any(name.startswith("a/") for name in kept):
            assert {f"a/{f.group}" for f in inner.files} == {n for n in kept if n.startswith("a/")}


def test_a_hostile_pattern_is_not_slow() -> None:
    patterns = Patterns(["*a" * 60 + "b", "**/" * 40 + "*a" * 60 + "/x", "a*" * 100 + "/**/b"])
    started = time.perf_counter()
    assert patterns.decide("/".join(["a" * 250] * 60), folder=False) is None
    assert time.perf_counter() - started < 0.5


def test_a_gitignore_that_cannot_be_read_closes_its_folder(tmp_path: Path) -> None:
    (tmp_path / "docs" / "inner").mkdir(parents=True)
    (tmp_path / "docs" / "a.txt").write_text("x")
    (tmp_path / "docs" / "inner" / "b.txt").write_text("x")
    (tmp_path / "docs" / "inner" / ".gitignore").write_text("x\n" * 40_000)
    found = scan([tmp_path / "docs"], gitignore=True)
    assert [file.name for file in found.files] == ["docs/a.txt"]
    assert [(s.name, s.reason) for s in found.skipped] == [
        ("docs/inner", "its .gitignore is too large")
    ]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    for name in ("a.txt", "b.md", "drafts/c.txt", "drafts/keep.txt", "sub/deep/d.md", "sub/e.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def _names(*sources: str | Path, **options) -> list[str]:
    return [file.name.removeprefix("docs/") for file in scan(sources, **options).files]


def test_include_and_ignore_are_relative_to_the_source(tree: Path) -> None:
    assert _names(tree, include=["*.md"]) == ["b.md", "sub/deep/d.md"]
    assert _names(tree, include=["sub/", "!*.txt"]) == ["sub/deep/d.md"]
    assert _names(tree, include=["/*.txt"]) == ["a.txt"]
    assert _names(tree, ignore=["drafts/*", "!keep.txt", "*.md"]) == [
        "a.txt", "drafts/keep.txt", "sub/e.txt",
    ]  # fmt: skip
    assert scan([tree], ignore=["drafts/"]).ignored == {"left out by a pattern": 1}
    assert _names(tree / "a.txt", ignore=["*.txt"]) == ["a.txt"]  # named by the user


def test_a_pattern_as_a_source_finds_what_the_standard_library_finds(tree: Path) -> None:
    for pattern in ("*.txt", "**/*.md", "sub/*", "[ab].*", "**/d*", "*/deep", "s?b/**/d.md"):
        expected = set()
        for path in tree.glob(pattern):
            inside = path.rglob("*") if path.is_dir() else [path]
            expected |= {p.relative_to(tree).as_posix() for p in inside if p.is_file()}
        base = "/".join(part for part in pattern.split("/")[:1] if part == "sub")
        lead = f"{base}/" if base else ""
        names = [file.name for file in scan([f"{tree}/{pattern}"]).files]
        label = base or "docs"
        assert names == sorted(f"{label}/{name.removeprefix(lead)}" for name in expected), pattern


def test_patterns_that_overlap_read_a_file_once(tree: Path) -> None:
    assert _names(f"{tree}/*.txt", f"{tree}/a*", tree, f"{tree}/.") == _names(tree)


def test_a_pattern_that_matches_nothing_is_an_error(tree: Path) -> None:
    with pytest.raises(DataError, match="no file matches"):
        scan([f"{tree}/*.docx"])
    with pytest.raises(DataError, match="no such file or folder"):
        scan([f"{tree}/nowhere/*.txt"])


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tree: Path) -> None:
    (tree / "note[1].txt").write_text("x")
    assert _names(tree / "note[1].txt") == ["note[1].txt"]


def test_a_pattern_does_not_look_where_nothing_can_match(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    entered = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: entered.append(str(path)) or real(path))
    scan([f"{tree}/s*/*.txt"])
    assert sorted(Path(path).name for path in entered) == ["docs", "sub"]
