"""Templates of task files: rendered where the chat templates of strangers are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import jinja2
from jinja2 import meta

from linnet.config import show
from linnet.errors import ConfigError, DataError
from linnet.tokenizer import confined, template_limits

SERVICE = "linnet.tokenizer.template_sandbox"
OFFERED = ("range", "dict", "namespace", "raise_exception", "strftime_now")


@dataclass(frozen=True)
class Template:
    """A text with columns of a row in it."""

    source: str
    file: str
    line: int
    """Where its first line stands."""
    setting: str

    @property
    def at(self) -> str:
        """Where it stands, for messages."""
        return f"{self.file}, line {self.line}: {self.setting}"

    def check(self, columns: Collection[str]) -> None:
        """Raise ConfigError unless it compiles and names only these columns."""
        outcome, said = self._run({})
        if outcome == "uncompiled":
            raise ConfigError(f"{self.at} is no template{self._placed(said)}")
        for name in sorted(self._variables()):
            if name not in columns:
                raise ConfigError(
                    f"{self.at} names the column {show(name)}, but the data has only "
                    f"{', '.join(list(columns)[:20])}"
                )

    def render(self, row: Mapping[str, Any]) -> str:
        """The text for a row. Raises DataError where the row has no such column, or no text."""
        for name in self._variables():
            if row.get(name) is None:
                raise DataError(f"the row has no value for {name}, which {self.setting} needs")
        outcome, said = self._run(row)
        if outcome != "done":
            raise DataError(f"{self.setting} cannot be made for this row: {said}")
        return said

    def _variables(self) -> set[str]:
        found = _VARIABLES.get(self.source)
        if found is None:
            try:
                parsed = _ENVIRONMENT.parse(self.source)
            except jinja2.TemplateSyntaxError as error:
                raise ConfigError(f"{self.at} is no template: {error}") from None
            found = meta.find_undeclared_variables(parsed) - set(OFFERED)
            _VARIABLES[self.source] = found
        return found

    def _run(self, row: Mapping[str, Any]) -> tuple[str, str]:
        if len(self.source) > template_limits.LONGEST_TEMPLATE:
            return "uncompiled", " (it is too long)"
        if "{" not in self.source:
            return "done", self.source
        try:
            outcome, said = confined.call(
                SERVICE, (self.source, dict(row), ("", "")), seconds=template_limits.SECONDS
            )
        except confined.EndedError as error:
            return "stopped", str(error)
        return str(outcome), str(said)

    def _placed(self, said: str) -> str:
        """``, line 2: ...`` within the template, as a line of the file."""
        number, colon, rest = said.removeprefix(", line ").partition(":")
        if not colon or not number.isdigit():
            return said
        return f" (line {self.line + int(number) - 1}):{rest}"


_ENVIRONMENT = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"])
_VARIABLES: dict[str, set[str]] = {}
