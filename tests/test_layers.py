"""Imports point downward, as docs/design.md says, and importing Linnet loads no torch."""

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

import pytest

import linnet

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "linnet"
DESIGN = ROOT / "docs" / "design.md"
REBUILT = ("finetune",)
TOP = "cli"  # what `python -m linnet` starts


def tiers() -> dict[str, int]:
    """The height of each part of the package, from the sentence that design.md gives to it."""
    sentence = re.search(r"^Tiers, lowest first: (.+)\.$", DESIGN.read_text("utf-8"), re.MULTILINE)
    assert sentence is not None
    groups = re.findall(r"`([a-z_ ]+)`", sentence[1])
    return {name: height for height, group in enumerate(groups) for name in group.split()}


def part_of(file: Path) -> str:
    """``linnet/train/loop.py`` belongs to ``train``."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def modules() -> list[Path]:
    # __init__ offers the stages' functions by name and __main__ starts the command line: both
    # stand above everything, and the test below shows that they load nothing.
    files = sorted(PACKAGE.rglob("*.py"))
    return [f for f in files if f not in (PACKAGE / "__init__.py", PACKAGE / "__main__.py")]


@cache
def nodes(file: Path) -> list[ast.AST]:
    """What the tests look at, of the whole tree of a module."""
    tree = ast.parse(file.read_text("utf-8"))
    kinds = (ast.Import, ast.ImportFrom, ast.If, ast.Attribute)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """Parts of Linnet that a module imports, anywhere in it, with the line."""
    for node in nodes(file):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports are absolute here"
            # `from linnet import artifact` names a part in what it imports.
            from_root = node.module == "linnet"
            names = [f"linnet.{a.name}" for a in node.names] if from_root else [node.module or ""]
        else:
            continue
        for name in names:
            if name.startswith("linnet."):
                yield name.split(".")[1], node.lineno


def test_design_names_every_part_once() -> None:
    parts = {part_of(file) for file in modules()}
    assert set(tiers()) == parts
    sentence = DESIGN.read_text("utf-8").split("Tiers, lowest first: ")[1].split("\n")[0]
    assert len(re.findall(r"[a-z_]+", sentence)) == len(parts)


def test_imports_point_downward() -> None:
    height = tiers()
    upward = [
        f"{file.relative_to(ROOT)}:{line} imports linnet.{target}"
        for file in modules()
        for target, line in imports(file)
        if target != part_of(file) and height[target] > height[part_of(file)]
    ]
    assert upward == []


def test_parts_of_one_tier_do_not_import_each_other_in_a_circle() -> None:
    height = tiers()
    uses: dict[str, set[str]] = {}
    for file in modules():
        part = part_of(file)
        level = {t for t, _ in imports(file) if t != part and height[t] == height[part]}
        uses.setdefault(part, set()).update(level)
    while free := [part for part, targets in uses.items() if not targets & uses.keys()]:
        for part in free:
            del uses[part]
    assert uses == {}


def module_of(file: Path) -> str:
    """``linnet/train/__init__.py`` is ``linnet.train``."""
    parts = ("linnet", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


def for_types_only(file: Path) -> set[int]:
    """The nodes under ``if TYPE_CHECKING``, which no program runs."""
    blocks = [node for node in nodes(file) if isinstance(node, ast.If)]
    guarded = [block for block in blocks if "TYPE_CHECKING" in ast.unparse(block.test)]
    return {id(node) for block in guarded for own in block.body for node in ast.walk(own)}


def module_imports(file: Path, known: Collection[str]) -> Iterator[str]:
    """The modules of Linnet that a module imports, at its top or within a function."""
    unused = for_types_only(file)
    for node in nodes(file):
        if id(node) in unused:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield from [name for name in (whole, str(node.module)) if name in known][:1]


def test_no_module_reaches_up_through_the_package() -> None:
    """``import linnet`` is for its version and its place; what it offers lies above."""
    reached = [
        f"{file.relative_to(ROOT)}:{node.lineno} uses linnet.{node.attr}"
        for file in modules()
        for node in nodes(file)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "linnet"
        and not node.attr.startswith("__")
    ]
    assert reached == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Not within functions either, where a circle is only hidden."""
    files = {module_of(file): file for file in modules()}
    uses = {name: set(module_imports(file, files)) - {name} for name, file in files.items()}
    while free := [name for name, targets in uses.items() if not targets & uses.keys()]:
        for name in free:
            del uses[name]
    # What only leads into a circle is in none. This part is being rebuilt.
    uses = {name: own for name, own in uses.items() if name.split(".")[1] not in REBUILT}
    while free := [name for name in uses if not any(name in own for own in uses.values())]:
        for name in free:
            del uses[name]
    assert {name: sorted(targets & uses.keys()) for name, targets in uses.items()} == {}


def loaded(program: str) -> set[str]:
    """Names of the modules that are loaded after a program has run in a new interpreter."""
    ending = "\nimport sys; print('\\n' + ' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program + ending],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return set(done.stdout.splitlines()[-1].split())


WITHOUT_TORCH = (
    "linnet", "linnet.cli", "linnet.data", "linnet.shards", "linnet.tokenizer",
    "linnet.train.config", "linnet.finetune.config",
)  # fmt: skip


def test_importing_loads_no_torch() -> None:
    imports = "".join(
        f"import {name}; assert 'torch' not in sys.modules, '{name}'\n" for name in WITHOUT_TORCH
    )
    assert "linnet.finetune.config" in loaded(f"import sys\n{imports}")


def test_the_names_of_the_package_are_there_and_cost_nothing_until_used() -> None:
    program = "import linnet; names = dir(linnet); assert 'build' in names and 'load' in names"
    assert not loaded(program) & {"linnet.pipeline", "linnet.generate", "torch", "numpy"}
    for name, (home, attribute) in linnet._HOMES.items():
        wanted = getattr(importlib.import_module(home), attribute)
        assert getattr(linnet, name) is wanted, f"linnet.{name} is hidden by a package"
    with pytest.raises(AttributeError, match="no attribute 'bild'"):
        linnet.bild  # noqa: B018


def test_what_a_package_offers_is_what_editors_and_dir_show() -> None:
    """Names that are loaded late are imported for type checkers, listed, and there."""
    for file in sorted(PACKAGE.rglob("__init__.py")):
        if "= lazy(" not in file.read_text("utf-8"):
            continue
        tree = ast.parse(file.read_text("utf-8"))
        shown = {
            alias.asname or alias.name
            for node in tree.body
            for inner in (node.body if isinstance(node, ast.If) else [node])
            if isinstance(inner, ast.ImportFrom)
            for alias in inner.names
        }
        package = importlib.import_module(module_of(file))
        assert set(package.__all__) <= shown | set(vars(package)), file
        assert shown - {"TYPE_CHECKING", "annotations", "lazy"} <= set(package.__all__), file
        assert set(package.__all__) <= set(dir(package)), file
        assert all(getattr(package, name) is not None for name in package.__all__), file


def test_importing_has_no_side_effects() -> None:
    """Every module can be imported, and doing so says nothing, changes no environment, and loads
    no compiler, which takes as long as torch."""
    names = [
        ".".join(("linnet", *file.relative_to(PACKAGE).with_suffix("").parts)) for file in modules()
    ]
    names = [name.removesuffix(".__init__") for name in names]
    for name in names:
        assert importlib.util.find_spec(name) is not None
    program = f"""
import importlib, os, sys
before = dict(os.environ)
for name in {names!r}:
    importlib.import_module(name)
changed = {{k: v for k, v in os.environ.items() if before.get(k) != v}}
assert not changed, changed
assert 'torch._dynamo' not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


ELSEWHERE = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "msvcrt", "winreg"}
"""Modules that only some systems have."""
STREAMS = {"run", "Popen", "check_output", "check_call"}


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


def calls(file: Path) -> Iterator[tuple[ast.Call, str, dict[str, ast.expr]]]:
    """Every call in a file, with the last name of what is called and its options."""
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            yield node, name, {each.arg or "": each.value for each in node.keywords}


def mode_of(call: ast.Call, name: str, options: dict[str, ast.expr]) -> str | None:
    """The mode in which a file is opened as text or bytes; None for what opens no file."""
    if name in ("read_text", "write_text"):
        is_ours = name == "write_text" and isinstance(call.func, ast.Name)
        of_module = isinstance(call.func, ast.Attribute) and "output" in ast.unparse(call.func)
        return None if is_ours or of_module else name[0]
    if name not in ("open", "fdopen"):
        return None
    builtin = isinstance(call.func, ast.Name) or name == "fdopen"
    given = [*call.args[1 if builtin else 0 :][:1], options.get("mode")]
    known = [each.value for each in given if isinstance(each, ast.Constant)]
    if not known:
        return "r" if builtin and len(call.args) == 1 else None
    mode = known[0]
    return mode if isinstance(mode, str) and re.fullmatch(r"[rwxabt+]{1,4}", mode) else None


def differing(file: Path) -> Iterator[str]:
    """Where a file reads or writes text in a way that depends on the system."""
    for call, name, options in calls(file):
        place = f"{file.relative_to(PACKAGE)}, line {call.lineno}"
        if name in STREAMS and {"text", "universal_newlines"} & options.keys():
            yield f"{place}: name the encoding, which implies text"
        mode = mode_of(call, name, options)
        if mode is None or "b" in mode or "os.devnull" in ast.unparse(call):
            continue
        positional = len(call.args) > {"read_text": 0, "write_text": 1}.get(name, 3)
        if "encoding" not in options and not positional:
            yield f"{place}: name the encoding"
        if mode != "r" and "newline" not in options:
            yield f"{place}: newline='', or output.write_text"


def test_texts_are_the_same_on_every_system() -> None:
    """Windows would take another encoding than UTF-8, and end lines with two characters."""
    assert [place for file in modules() for place in differing(file)] == []


def test_no_module_needs_one_that_only_some_systems_have() -> None:
    for file in modules():
        for node in parsed(file).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {each.name for each in node.names} | {getattr(node, "module", None)}
                assert not names & ELSEWHERE, file
