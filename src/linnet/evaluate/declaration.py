"""Tasks declared in YAML: what a file may say, and what is wrong with one, by its line.

A file describes one task over local rows (see ``rows``); ``docs/evaluation.md`` is its reference.
Templates are Jinja, run by the sandbox that runs chat templates. A file holds no code and no
expression, so one that comes from a stranger can do no more than be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import yaml

from linnet.config import Config, from_mapping, option, read_bytes, refuse_unknown, show
from linnet.errors import ConfigError
from linnet.generate.sampling import Sampling

SUFFIXES = (".yaml", ".yml")
LARGEST = 1 << 20
DEEPEST = 20

TaskKind = Literal["generate", "choice", "likelihood"]
Format = Literal["any", "line", "number", "yes_no", "choice", "json"]

METRICS_OF: dict[TaskKind, tuple[str, ...]] = {
    "generate": ("exact_match", "f1", "contains", "in_format", "ends_itself"),
    "choice": ("accuracy", "accuracy_by_length", "chance"),
    "likelihood": ("bits_per_byte", "nats_per_token", "perplexity", "accuracy"),
}
"""The metrics that a task of each kind may name; all of them unless it names some."""


@dataclass(frozen=True)
class FewShot(Config):
    """Solved examples before each question."""

    count: int = option(0, "how many", least=0, most=64)
    data: str | None = option(None, "the file of rows to take them from; without one, the task's")
    seed: int = option(0, "which ones: they are drawn once, for all questions", least=0)
    where: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Declaration(Config):
    """One task, as a file declares it."""

    name: str = ""
    about: str = ""
    data: str = ""
    """The file of rows, beside this one."""
    where: dict[str, Any] = field(default_factory=dict)
    """Only rows whose columns have these values, or one of a list of them."""
    id: str = "id"
    """The column that tells rows apart; their number, where there is no such column."""
    kind: TaskKind = "generate"
    system: str = ""
    prompt: str = ""
    target: str | tuple[str, ...] = ""
    """A column, a template or a list of templates."""
    choices: str | tuple[str, ...] = ""
    chat: bool = False
    delimiter: str = " "
    separator: str = "\n\n"
    few_shot: FewShot = FewShot()
    metrics: tuple[str, ...] = ()
    language: str = "en"
    stop: tuple[str, ...] = ()
    max_tokens: int = option(48, "", least=1)
    sampling: Sampling = Sampling(temperature=0, min_p=0)
    format: Format = "any"
    answer_after: str = ""
    """The answer begins after the last of these in what is written."""
    requires: tuple[Literal["chat_template"], ...] = ()
    file: Path = Path()
    lines: Mapping[str, int] = field(default_factory=dict)
    """Where each setting stands."""

    def at(self, setting: str) -> str:
        """Where a setting stands, for messages."""
        return f"{self.file}, line {self.lines.get(setting, 1)}: {setting}"


def read_declaration(file: Path) -> Declaration:
    """The task in a file. Raises ConfigError, naming the line and what was expected."""
    values, lines = _read(file)
    settings = {name: value for name, value in _fields(Declaration).items() if name not in _OWN}
    converted: dict[str, Any] = {}
    for name, value in values.items():
        where = f"{file}, line {lines.get(str(name), 1)}"
        refuse_unknown([name], settings, where=where)
        kind = settings[name]
        if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, dict):
            for inner, setting in value.items():
                place = f"{file}, line {lines[f'{name}.{inner}']}: {name}"
                _converted(kind, inner, setting, place)  # type: ignore[arg-type]
            if name == "sampling":
                for own in ("max_tokens", "stop"):
                    if own in value:
                        place = f"{file}, line {lines[f'sampling.{own}']}"
                        raise ConfigError(f"{place}: {own} is a setting of the task itself")
                value = {"temperature": 0, "min_p": 0, **value}
        converted[name] = _converted(Declaration, name, value, where)
    found = Declaration(**converted, file=file, lines=lines)
    _check(found)
    return found


_OWN = ("file", "lines")


def _converted(kind: type, name: str, value: Any, where: str) -> Any:
    """One setting of a dataclass. Raises ConfigError, which names the place in every case."""
    try:
        return getattr(from_mapping(kind, {name: value}, where=where), name)
    except ConfigError as error:
        if str(error).startswith(where):
            raise
        raise ConfigError(f"{where}: {error}") from None


def _fields(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _check(task: Declaration) -> None:
    """Raise ConfigError for what a task cannot be without, or what does not go together."""
    needed = {"name": "a name, such as capitals", "data": "a file of rows", "target": _TARGET}
    if task.kind == "choice":
        needed["choices"] = "a column with a list, or a list of templates"
    if task.kind != "likelihood":
        needed["prompt"] = "a template, such as 'Question: {{ question }}'"
    for name, expected in needed.items():
        if not getattr(task, name):
            raise ConfigError(f"{task.at(name)} is missing; expected {expected}")
    if not task.name.replace("_", "").replace("-", "").isalnum() or len(task.name) > 64:
        raise ConfigError(
            f"{task.at('name')} must be up to 64 letters, digits, - and _. Got {show(task.name)}"
        )
    allowed = METRICS_OF[task.kind]
    for metric in task.metrics:
        if metric not in allowed:
            raise ConfigError(
                f"{task.at('metrics')} of a task of kind {task.kind} must be among "
                f"{', '.join(allowed)}. Got {show(metric)}"
            )
    for name in _ONLY[task.kind]:
        if name in task.lines:
            raise ConfigError(
                f"{task.at(name)} has no meaning in a task of kind {task.kind}; leave it out"
            )
    if task.chat and "delimiter" in task.lines:
        raise ConfigError(f"{task.at('delimiter')} has no meaning with chat: true; leave it out")


_TARGET = "a column, or a template such as '{{ answer }}'"
_ONLY: dict[str, tuple[str, ...]] = {
    "generate": (),
    "choice": ("stop", "max_tokens", "sampling", "format", "answer_after"),
    "likelihood": ("choices", "stop", "max_tokens", "sampling", "format", "answer_after"),
}
"""Settings without a meaning for a kind."""


def _read(file: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The values in a file and their lines, those of a table as ``table.key``."""
    try:
        text = read_bytes(file, LARGEST).decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{file}: expected a task file, but it does not exist") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: expected a task file, but {error}") from None
    lines: dict[str, int] = {}
    try:
        node = _Loader(text).get_single_node()
        values = _value(node, file, lines, ()) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise ConfigError(f"{file}, line {line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{file}, line 1: expected settings, such as 'name: capitals'")
    return values, lines


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML without anchors, which could make a small file a large one, and nested only so far."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        self.depth += 1
        if self.depth > DEEPEST:
            raise yaml.MarkedYAMLError(problem="it nests too deeply", problem_mark=event.start_mark)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases are not read; write the value itself",
                problem_mark=event.start_mark,
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _value(node: yaml.Node, file: Path, lines: dict[str, int], path: tuple[str, ...]) -> Any:
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name is None:
                raise ConfigError(f"{file}, line {line}: expected the name of a setting")
            if name in found:
                raise ConfigError(f"{file}, line {line}: {name} stands here for the second time")
            own = (*path, name)
            lines[".".join(own)] = line
            if isinstance(value, yaml.ScalarNode):
                begins = value.start_mark.line + (2 if value.style in ("|", ">") else 1)
                lines[f"{'.'.join(own)}:text"] = begins
            found[name] = _value(value, file, lines, own)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_value(each, file, lines, (*path, "")) for each in node.value]
    return _scalar(node)


def _scalar(node: yaml.Node) -> Any:
    """Text, a number, true or false, or None; what looks like a time stays text."""
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if kind in ("str", "timestamp", "merge", "value"):
        return node.value
    if kind not in ("int", "float", "bool", "null"):
        raise yaml.MarkedYAMLError(
            problem=f"expected no tag. Got {show(kind)}", problem_mark=node.start_mark
        )
    try:
        return _CONSTRUCTOR.construct_object(node)
    except ValueError:
        raise yaml.MarkedYAMLError(
            problem="expected a number of some digits", problem_mark=node.start_mark
        ) from None


_CONSTRUCTOR = yaml.constructor.SafeConstructor()


def kinds() -> tuple[str, ...]:
    """The kinds of tasks that a file may declare."""
    return get_args(TaskKind)
