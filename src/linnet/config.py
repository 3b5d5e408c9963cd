"""Settings: dataclasses to and from TOML, strictly.

Every stage has one frozen dataclass; its defaults are the only place where a
default is written. A field is declared with :func:`option`: its help text, which
the command line shows beside the matching ``--flag`` (see ``linnet.cli.options``), and its
bounds, which are checked alike from the command line, TOML, Python and HTTP.
An unknown key is an error that names the nearest known one, and a value of the
wrong type is an error that says which type was expected.

Files of settings may come from strangers: they are read by :func:`load_toml`, :func:`read_json` and
:func:`parse_json`, which say in one line what is wrong with them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import math
import re
import reprlib
import stat
import tomllib
import types
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tomli_w

from linnet.errors import ConfigError, ContradictionError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

T = TypeVar("T")


def option(
    default: T,
    help: str,
    *,
    group: str = "",
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] = (),
    more: Mapping[str, Any] | None = None,
) -> T:
    """A dataclass field with its help text and its bounds.

    ``group``: the heading under which ``--help`` lists it; without one it is among the
    common ones, which come first. ``least`` and ``most`` are allowed themselves, ``above`` and
    ``below`` are not; ``choices``: the only values. A subclass of :class:`Config` checks them
    whenever one is made. ``more``: metadata of whoever declares the field. Typed as returning
    the default, so that fields keep their declared types.
    """
    bounds = Bounds(least=least, above=above, most=most, below=below, choices=choices)
    metadata = {"help": help, "group": group, "bounds": bounds, **(more or {})}
    field: Any = dataclasses.field(default=default, metadata=metadata)
    return field  # type: ignore[no-any-return]


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Which values an option takes."""

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()

    def admits(self, value: Any) -> bool:
        """Whether it takes this one; a number that is bounded at all must be finite."""
        if self.choices:
            return value in self.choices
        limits = (self.least, self.above, self.most, self.below)
        if value is None or all(limit is None for limit in limits):
            return True
        return (
            math.isfinite(value)
            and (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """What a value must be, as a message says it."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        low, high = self.least, self.most
        if low is not None and high is not None:
            return f"between {low:,} and {high:,}"
        said = []
        if low is not None:
            said.append("0 or more" if low == 0 and self.below is None else f"at least {low:,}")
        if self.above is not None:
            said.append(f"above {self.above:,}")
        if high is not None:
            said.append(f"at most {high:,}")
        if self.below is not None:
            said.append(f"below {self.below:,}")
        return " and ".join(said)


class Config:
    """Settings whose values have the type and are within the bounds of their options, however
    they were made. A list given for a tuple becomes one."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a value that is not. A subclass adds what concerns several."""
        hints = _hints_of(type(self))  # type: ignore[arg-type]  # (of lru_cache)
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            bounds = field.metadata.get("bounds")
            if bounds is None:
                continue
            given = getattr(self, field.name)
            # (Choices that are a table to which lines can be added are checked against it later.)
            table = field.metadata.get("table", False)
            value = given if table else _convert(hints[field.name], given, where=field.name)
            # A whole number stays one where a float is declared: recipes have it as it was given.
            if value is not given and type(given) is not int:
                object.__setattr__(self, field.name, value)  # (most are frozen)
            if not bounds.admits(value):
                near = difflib.get_close_matches(str(value)[:100], bounds.choices, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise ConfigError(f"{field.name} must be {bounds}. Got {show(value)}{hint}")
        refuse_unused(self, _not_default(self))

    def unused(self) -> Mapping[str, str]:
        """The settings that would do nothing beside the others, each with what it is for, such as
        ``is for --method dpo``: one of another value than its default is refused, and so is one
        that a file or a command line gives."""
        return {}


def refuse_unused(config: Config, given: Iterable[str], *, where: str = "") -> None:
    """Raise ConfigError for a setting that was given and would do nothing beside the others."""
    unused = config.unused()
    for name in given:
        if name in unused:
            raise ConfigError(f"{where}{': ' * bool(where)}{name} {unused[name]}")


def _not_default(config: Config) -> list[str]:
    fields = dataclasses.fields(config)  # type: ignore[arg-type]
    return [field.name for field in fields if getattr(config, field.name) != field.default]


def changed(cls: type, name: str, default: T, *, help: str = "", group: str = "") -> T:
    """The field ``name`` of a base class, with another default, help or group."""
    inherited = next(f for f in dataclasses.fields(cls) if f.name == name).metadata
    metadata = {
        **inherited,
        "help": help or inherited["help"],
        "group": group or inherited["group"],
    }
    field: Any = dataclasses.field(default=default, metadata=metadata)
    return field  # type: ignore[no-any-return]


def from_mapping(cls: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """Build the dataclass ``cls`` from plain values.

    ``where`` names the source in errors, such as ``linnet.toml [train]``.
    Raises ConfigError for an unknown key, a missing one, a wrong type, or one that would do nothing
    beside the others.
    """
    return _made(cls, values, given=values, where=where)


def _made(cls: type[T], values: Mapping[str, Any], *, given: Iterable[str], where: str) -> T:
    hints = _hints_of(cls)  # type: ignore[arg-type]  # (of lru_cache)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    refuse_unknown(values, fields, where=where)
    for name, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in values:
            raise ConfigError(f"{where}: the setting '{name}' is missing")
    converted = {
        key: _convert(hints[key], value, where=f"{where}: {key}") for key, value in values.items()
    }
    made = cls(**converted)
    if isinstance(made, Config):
        refuse_unused(made, given, where=where)
    return made


def refuse_unknown(values: Iterable[str], known: Collection[str], *, where: str) -> None:
    """Raise ConfigError for a setting that is none of those known, naming the nearest."""
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key)[:100], known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}"
            raise ConfigError(f"{where}: unknown setting {show(key)}{hint}")


@cache
def _hints_of(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


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
    return _made(type(config), {**to_mapping(config), **given}, given=given, where=where)


LARGEST_SETTINGS = 1 << 20  # bytes; such files have some hundred or thousand
LARGEST_JSON = 1 << 30


def load_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises ConfigError naming the file and line."""
    try:
        text = read_bytes(path, LARGEST_SETTINGS).decode("utf-8-sig")  # as Windows writes it
        return tomllib.loads(text.replace("\r\n", "\n"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except RecursionError:
        raise ConfigError(f"{path}: not valid TOML: it nests too deeply") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def read_json(path: Path, *, limit: int = LARGEST_JSON) -> Any:
    """What a JSON file of at most ``limit`` bytes holds.

    Raises ValueError, in one line, for what is no such file, and OSError.
    """
    return parse_json(read_bytes(path, limit).decode("utf-8"))


def parse_json(text: str) -> Any:
    """What a JSON text says. Raises ValueError, also for one that nests too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it nests too deeply") from None


def read_bytes(path: Path, limit: int) -> bytes:
    """A regular file's bytes, at most ``limit``; raises ValueError for another file, and OSError.

    Opening another kind could wait without end.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no regular file")
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"it has more than {limit:,} bytes")
    return content


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
        return _convert_to_any(arguments, value, where=where)
    if origin is Literal:
        return _chosen(arguments, value, where=where)
    if origin is tuple:
        return _convert_items(arguments, value, where=where)
    if origin is list:
        if not isinstance(value, list):
            raise ConfigError(f"{where} must be a list. Got {show(value)}")
        return [_convert(arguments[0], item, where=where) for item in value]
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a table. Got {show(value)}")
        kind = arguments[1]
        return {
            key: _entry(kind, item, where=f"{where}: {_key(key)}") for key, item in value.items()
        }
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if isinstance(value, kind):
            return value
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a table. Got {show(value)}")
        return from_mapping(kind, value, where=where)
    return _convert_plain(kind, value, where=where)


def _convert_to_any(kinds: tuple[Any, ...], value: Any, *, where: str) -> Any:
    """To the first of several types that takes it; what the last one says is the error."""
    if value is None and type(None) in kinds:
        return None
    *others, last = (kind for kind in kinds if kind is not type(None))
    for kind in others:
        with contextlib.suppress(ConfigError):
            return _convert(kind, value, where=where)
    return _convert(last, value, where=where)


def _chosen(choices: tuple[Any, ...], value: Any, *, where: str) -> Any:
    if isinstance(value, str | int | float) and value in choices:
        return value
    near = difflib.get_close_matches(str(value)[:100], [str(a) for a in choices], n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise ConfigError(
        f"{where} must be one of {', '.join(map(str, choices))}. Got {show(value)}{hint}"
    )


def _convert_items(kinds: tuple[Any, ...], value: Any, *, where: str) -> tuple[Any, ...]:
    """To a tuple of one kind and any length, or of as many kinds as it has entries."""
    if not isinstance(value, list | tuple):
        example = f", such as [{json.dumps(value)}]" if isinstance(value, str) else ""
        raise ConfigError(f"{where} must be a list{example}. Got {show(value)}")
    if kinds[-1] is Ellipsis:
        return tuple(_convert(kinds[0], item, where=where) for item in value)
    if len(value) != len(kinds):
        raise ConfigError(f"{where} must have {len(kinds)} entries. Got {show(value)}")
    return tuple(_convert(kind, item, where=where) for kind, item in zip(kinds, value, strict=True))


def _convert_plain(kind: Any, value: Any, *, where: str) -> Any:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    if kind is str and isinstance(value, Path):
        return str(value)
    if kind is int and isinstance(value, Integral) and not isinstance(value, bool):
        whole = int(value)
        if abs(whole) >= 1 << 63:
            raise ConfigError(f"{where} must be a whole number of 64 bits. Got {show(value)}")
        return value if isinstance(value, int) else whole
    if kind is float and isinstance(value, Real) and not isinstance(value, bool):
        number: Any = value
        if abs(number) >= 1 << 1023 or not math.isfinite(number):
            raise ConfigError(f"{where} must be a finite number. Got {show(value)}")
        return float(number)
    if kind is Any or (
        isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
    ):
        return value
    raise ConfigError(f"{where} must be {_type_name(kind)}. Got {show(value)}")


def _entry(kind: Any, value: Any, *, where: str) -> Any:
    """One of several tables of a kind: what is wrong in it names it."""
    try:
        return _convert(kind, value, where=where)
    except ContradictionError:
        raise
    except ConfigError as error:
        if str(error).startswith(where):
            raise
        raise ConfigError(f"{where}: {error}") from None


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100


def show(value: Any) -> str:
    """A value as Python writes it, on one short line, for messages about what strangers wrote."""
    return _SHORT.repr(value)


def _key(key: Any) -> str:
    text = str(key)
    return text if len(text) <= 100 and text.isprintable() else show(text)


def _type_name(kind: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


_AMOUNT = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile(rf"(?:{_AMOUNT}\s*h)?\s*(?:{_AMOUNT}\s*m)?\s*(?:{_AMOUNT}\s*s)?", re.ASCII)
_SECONDS = re.compile(_AMOUNT, re.ASCII)
LONGEST_TIME = 1e9  # seconds


def parse_duration(duration: str | float) -> float:
    """``90s``, ``5m`` or ``1h30m`` in seconds; a number is seconds already. Raises ConfigError.

    A text without a unit is refused: whoever types ``--budget 5`` may mean minutes.
    """
    if isinstance(duration, int | float):
        if not 0 < duration <= LONGEST_TIME:
            raise ConfigError(_not_a_time(duration))
        return float(duration)
    stripped = duration.strip()
    if _SECONDS.fullmatch(stripped) and 0 < float(stripped) < math.inf:
        raise ConfigError(
            f"a time needs a unit: {stripped}s for seconds or {stripped}m for minutes? "
            f"Got {duration!r}"
        )
    seconds = 0.0
    if found := _DURATION.fullmatch(stripped):
        units = zip(found.groups(), (3600.0, 60.0, 1.0), strict=True)
        seconds = sum(float(amount) * unit for amount, unit in units if amount)
    if not 0 < seconds <= LONGEST_TIME:
        raise ConfigError(_not_a_time(duration))
    return seconds


def _not_a_time(value: str | float) -> str:
    years = LONGEST_TIME // (365 * 86400)
    return (
        f"a time must look like 90s, 5m or 1h30m, and be at most {years:.0f} years. "
        f"Got {show(value)}"
    )


def show_duration(seconds: float) -> str:
    """``95`` as ``1m 35s``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60}s" if whole % 60 else f"{whole // 60}m"
    minutes = whole % 3600 // 60
    return f"{whole // 3600}h {minutes}m" if minutes else f"{whole // 3600}h"
