"""Task files of people's own for the harness: what they name, and whether they name code."""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from linnet.errors import ConfigError

LARGEST_TASK_FILE = 1 << 20
LONGEST_NAME = 4096  # of files
MOST_FILES = 10_000  # of a folder of data that are looked at for changes
PLAIN_TAGS = re.compile(
    r"tag:yaml\.org,2002:(map|seq|str|int|float|bool|null|timestamp|merge|value)"
)


def is_file(name: str) -> bool:
    """Whether a task is named by its file."""
    return name.endswith((".yaml", ".yml"))


def as_task(name: str) -> str | dict[str, Any]:
    """A task as the harness takes it: its name, or what its file says."""
    if not is_file(name):
        return name
    from lm_eval.tasks._yaml_loader import load_yaml

    return dict(load_yaml(Path(name), resolve_func=True))


def own_files(tasks: Sequence[str], include: Path | None) -> list[Path]:
    """The task files that are not part of the harness."""
    named = [Path(name) for name in tasks if is_file(name)]
    return named if include is None else named + sorted(include.rglob("*.yaml"))


def files_behind(own: Sequence[Path]) -> list[Path]:
    """All files that a result depends on: those of the tasks, those they include, the code beside
    them, and the local data that they name, from here as the harness sees it."""
    import yaml

    found: dict[Path, None] = {}
    waiting = [*own, *(code for path in own for code in path.parent.glob("*.py"))]
    while waiting:
        file = waiting.pop().resolve()
        if file in found or not file.is_file():
            continue
        found[file] = None
        if not is_file(file.name):
            continue
        try:
            root = yaml.compose(file.read_text("utf-8"), Loader=yaml.SafeLoader)
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
            continue
        for node, key in _nodes(root):
            if isinstance(node, yaml.ScalarNode) and "\n" not in (named := str(node.value)):
                if key == "include":
                    waiting.append(file.parent / named)
                elif key == "data_dir":
                    waiting += itertools.islice(Path(named).rglob("*"), MOST_FILES)
                elif os.path.isfile(named):
                    waiting.append(Path(named))
                elif glob.has_magic(named) and len(named) < LONGEST_NAME:
                    waiting += map(Path, glob.glob(named, recursive=True))
    return sorted(found)


def refuse_code(path: Path) -> None:
    """Raise ConfigError for a task file that names code; and for one that cannot be read."""
    import yaml

    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        file = waiting.pop().resolve()
        if file in seen:
            continue
        seen.add(file)
        if not file.is_file():
            raise ConfigError(f"{file}: expected a task file of the harness, but there is none")
        if file.stat().st_size > LARGEST_TASK_FILE:
            raise ConfigError(f"{file}: expected a task file of at most 1 MB")
        try:
            root = yaml.compose(file.read_text("utf-8"), Loader=yaml.SafeLoader)
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(f"{file}: expected YAML. {' '.join(str(error).split())}") from None
        for node, key in _nodes(root):
            line = node.start_mark.line + 1
            if not PLAIN_TAGS.fullmatch(node.tag) or key == "class":
                raise ConfigError(
                    f"{file}, line {line}: names Python code ({node.value}), which is not run "
                    "unasked; read it, then allow it with --allow-code"
                )
            if key == "include":
                waiting.append(file.parent / str(node.value))


def _nodes(root: Any) -> Iterator[tuple[Any, str | None]]:
    """Every node of a YAML tree with the key that it is the value of."""
    import yaml

    waiting: list[tuple[Any, str | None]] = [] if root is None else [(root, None)]
    seen: set[int] = set()  # aliases may form a circle
    while waiting:
        node, key = waiting.pop()
        yield node, key
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            waiting += [(value, name.value) for name, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(value, key) for value in node.value]
