"""The source ``python:library``: text that every machine with Python has.

The documentation behind ``help()`` (``pydoc_data.topics``), the source of the
standard library and its docstrings, all under the PSF licence. Files are
parsed, never imported, so nothing in them runs. A module's source and its
docstrings share a group: they repeat each other, and one must not be held out
while the other is trained on.
"""

from __future__ import annotations

import ast
import os
import sysconfig
from typing import TYPE_CHECKING

from linnet.data import kinds
from linnet.data.blocks import Builder, numbered
from linnet.data.document import Extracted, UnreadableError
from linnet.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = "python:library"
_TOPICS = "pydoc_data/topics.py"

# Tests, add-ons, tables of characters, and what is built on this machine.
_LEFT_OUT = {
    "test", "tests", "idle_test", "site-packages", "dist-packages", "idlelib", "encodings",
    "pydoc_data", "_bundled", "__pycache__", "__phello__", "lib-dynload",
}  # fmt: skip
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def files() -> Iterator[tuple[str, str, str]]:
    """Path, path below the library, and kind of every file, sorted."""
    root = sysconfig.get_path("stdlib")
    found = 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name for name in folders if name not in _LEFT_OUT and not name.startswith("config-")
        )
        for name in sorted(names):
            if name.endswith(".py") and not name.startswith("_sysconfigdata"):
                path = os.path.join(folder, name)
                found += 1
                yield path, os.path.relpath(path, root).replace(os.sep, "/"), kinds.LIBRARY_MODULE
    topics = os.path.join(root, *_TOPICS.split("/"))
    if os.path.isfile(topics):
        yield topics, _TOPICS, kinds.LIBRARY_TOPICS
    if not found:
        raise DataError(
            f"{SOURCE}: this Python keeps no library source in {root}; give a folder of documents"
        )


def read_module(text: str, group: str) -> Iterator[Extracted]:
    """A module's source as one document, its docstrings as another."""
    yield Extracted(numbered(text, "code"), group, kinds.CODE)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return
    name = group.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    entries = Builder("line")
    for line, head, docstring in _docstrings(tree, name):
        entries.add(head, "heading", level=head.count("."), marks=[(0, line)])
        entries.include(docstring)
    if entries.length:
        yield Extracted(entries.text(), group, "documentation", "docstrings", "prose")


def read_topics(text: str) -> Iterator[Extracted]:
    """Each topic of ``help()`` as a document of its own."""
    tree = ast.parse(text)
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            topics = ast.literal_eval(statement.value)
            for name, body in sorted(topics.items()):
                yield Extracted(body, f"topics/{name}", "documentation", name, "prose")
            return
    raise UnreadableError("no topics found in the file")


def _docstrings(tree: ast.Module, module: str) -> Iterator[tuple[int, str, str]]:
    """Docstrings, each with the line that it belongs to and what it is of."""
    text = ast.get_docstring(tree)
    if text:
        yield 1, module, text
    yield from _inner_docstrings(tree, module)


def _inner_docstrings(parent: ast.AST, path: str) -> Iterator[tuple[int, str, str]]:
    """Docstrings in the order of the file, each under its signature."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, _DEFINITIONS):
            name = f"{path}.{node.name}"
            text = ast.get_docstring(node)
            if text:
                yield node.lineno, _signature(node, name), text
            yield from _inner_docstrings(node, name)
        elif isinstance(node, ast.If | ast.Try):
            yield from _inner_docstrings(node, path)


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, name: str) -> str:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return f"class {name}({bases})" if bases else f"class {name}"
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{name}({ast.unparse(node.args)}){result}"
