"""Settings: dataclasses to and from TOML, strictly.

Every stage has one frozen dataclass; its defaults are the only place where a
default is written. A field is declared with :func:`option`, whose help text
the command line shows beside the matching ``--flag`` (see ``linnet.cli.options``).
An unknown key is an error that names the nearest known one, and a value of the
wrong type is an error that says which type was expected.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import tomllib
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tomli_w

from linnet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


def option(default: T, help: str) -> T:
    """A dataclass field with its help text.

    Typed as returning the default, so that fields keep their declared types.
    """
    field: Any = dataclasses.field(default=default, metadata={"help": help})
    return field  # type: ignore[no-any-return]


def from_mapping(cls: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """Build the dataclass ``cls`` from plain values.

    ``where`` names the source in errors, such as ``linnet.toml [train]``.
    Raises ConfigError for an unknown key, a missing one or a wrong type.
    """
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(fields)}"
            raise ConfigError(f"{where}: unknown setting '{key}'{hint}")
    for name, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in values:
            raise ConfigError(f"{where}: the setting '{name}' is missing")
    converted = {
        key: _convert(hints[key], value, where=f"{where}: {key}") for key, value in values.items()
    }
    return cls(**converted)


def to_mapping(config: Any) -> dict[str, Any]:
    """The dataclass as plain values; ``None`` is left out, as TOML has no null."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = _plain(getattr(config, field.name))
        if value is not None:
            values[field.name] = value
    return values


def replace(config: T, changes: Mapping[str, Any], *, where: str = "command line") -> T:
    """A copy of ``config`` with the changes that are not ``None``, checked as from TOML."""
    given = {key: value for key, value in changes.items() if value is not None}
    return from_mapping(type(config), {**to_mapping(config), **given}, where=where)


def load_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises ConfigError naming the file and line."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def dump_toml(values: Mapping[str, Any]) -> str:
    """Plain values as TOML text."""
    return tomli_w.dumps(values)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _convert(kind: Any, value: Any, *, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        choices = [a for a in arguments if a is not type(None)]
        for choice in choices:
            try:
                return _convert(choice, value, where=where)
            except ConfigError:
                if choice is choices[-1]:
                    raise
    if origin is Literal:
        if value in arguments:
            return value
        near = difflib.get_close_matches(str(value), [str(a) for a in arguments], n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ConfigError(
            f"{where} must be one of {', '.join(map(str, arguments))}. Got {value!r}{hint}"
        )
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where} must be a list. Got {value!r}")
        return tuple(_convert(arguments[0], item, where=where) for item in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a table. Got {value!r}")
        return dict(value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if isinstance(value, kind):
            return value
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a table. Got {value!r}")
        return from_mapping(kind, value, where=where)
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ConfigError(f"{where} must be a finite number. Got {value!r}")
        return float(value)
    if kind is Any or (
        isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
    ):
        return value
    raise ConfigError(f"{where} must be {_type_name(kind)}. Got {value!r}")


def _type_name(kind: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


_AMOUNT = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile(rf"(?:{_AMOUNT}\s*h)?\s*(?:{_AMOUNT}\s*m)?\s*(?:{_AMOUNT}\s*s)?", re.ASCII)
_SECONDS = re.compile(_AMOUNT, re.ASCII)


def parse_duration(duration: str | float) -> float:
    """``90s``, ``5m`` or ``1h30m`` in seconds; a number is seconds already. Raises ConfigError.

    A text without a unit is refused: whoever types ``--budget 5`` may mean minutes.
    """
    text = f"{duration}s" if isinstance(duration, int | float) else duration
    stripped = text.strip()
    if _SECONDS.fullmatch(stripped) and 0 < float(stripped) < math.inf:
        raise ConfigError(
            f"a time needs a unit: {stripped}s for seconds or {stripped}m for minutes? "
            f"Got {duration!r}"
        )
    seconds = 0.0
    if found := _DURATION.fullmatch(stripped):
        units = zip(found.groups(), (3600.0, 60.0, 1.0), strict=True)
        seconds = sum(float(amount) * unit for amount, unit in units if amount)
    if not seconds or not math.isfinite(seconds):
        raise ConfigError(f"a time must look like 90s, 5m or 1h30m. Got {duration!r}")
    return seconds


def show_duration(seconds: float) -> str:
    """``95`` as ``1m 35s``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60}s" if whole % 60 else f"{whole // 60}m"
    minutes = whole % 3600 // 60
    return f"{whole // 3600}h {minutes}m" if minutes else f"{whole // 3600}h"
