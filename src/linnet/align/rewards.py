"""Rewards that can be checked: a function of a completion and of what is known of its prompt.

Each gives a number from 0 to 1, in grades where there are any, so that a model that is half right
learns from it. A new one is a function and a line in ``REWARDS``; several are added up by weights.

An owner may bring functions of their own (:func:`load_rewards`): that is code, which is run as it
stands in the file that they name.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from linnet import artifact
from linnet.config import parse_json, show
from linnet.errors import ConfigError, TrainingError
from linnet.evaluate.refusals import is_refusal
from linnet.generate.constraints.schema import SchemaReader
from linnet.generate.constraints.validation import Validator
from linnet.grounding import check
from linnet.scoring.matching import exact_match, token_f1, words_of


@dataclass(frozen=True)
class Sample:
    """A completion, with what is known of what was asked."""

    asked: str
    """What the last turn of the prompt says."""
    text: str
    """What was written."""
    ended: bool = True
    """Whether it ended by itself, and not because it had become too long."""
    tokens: int = 0
    passage: str | None = None
    """What it was to answer from."""
    expected: tuple[str, ...] = ()
    """Right answers."""
    answerable: bool = True
    """Whether there is an answer: otherwise a refusal is right."""
    schema: Mapping[str, Any] | None = None
    """What the answer is to be valid against."""
    language: str = "en"
    row: Mapping[str, Any] = field(default_factory=dict)
    """The whole row that the prompt is from."""
    messages: tuple[Mapping[str, Any], ...] = ()
    """The whole prompt."""
    tools: tuple[Any, ...] | None = None
    """What it may call, as the prompt says."""


Reward: TypeAlias = Callable[[Sample], float]


def well_formed(sample: Sample) -> float:
    """1 for JSON that is valid against the schema, a half for other JSON."""
    try:
        value = parse_json(sample.text.strip())
    except ValueError:
        return 0.0
    if sample.schema is None:
        return 1.0
    reader = SchemaReader(dict(sample.schema))
    return 1.0 if Validator(reader).holds(value, dict(sample.schema)) else 0.5


# In English, German and Polish, Swedish, French and Danish, Japanese.
_QUOTED = re.compile(
    r"\"([^\"]+)\"|“([^”]+)”|„([^“”]+)[“”]|”([^”]+)”|«([^»]+)»|»([^«]+)«|「([^」]+)」"
)
_LEAST_QUOTED = 3  # characters: less is a name


def quotes(sample: Sample) -> float:
    """The share of its quotations that stand in the passage letter for letter; 0 without any.

    Where lines are broken does not count. Where there is no answer: 1 without quotations.
    """
    quoted = (" ".join(next(filter(None, each)).split()) for each in _QUOTED.findall(sample.text))
    said = [each for each in quoted if len(each) >= _LEAST_QUOTED]
    if not sample.answerable:
        return float(not said)
    passage = " ".join((sample.passage or "").split())
    return sum(each in passage for each in said) / len(said) if said else 0.0


_CITED = re.compile(r"\[(\d{1,3})\]")


def cites(sample: Sample) -> float:
    """The F1 of the passages that it cites as ``[1]`` with those that the row's ``cites`` lists."""
    right = sample.row.get("cites") or []
    wanted = {int(each) for each in (right if isinstance(right, list) else [right])}
    found = {int(each) for each in _CITED.findall(sample.text)}
    if not wanted or not found:
        return float(wanted == found)
    both = len(wanted & found)
    return 2 * both / (len(wanted) + len(found))


def refuses(sample: Sample) -> float:
    """1 for a refusal where there is no answer, and for none where there is one; 0 for nothing."""
    if not sample.text.strip():
        return 0.0
    return float(is_refusal(sample.text, sample.language) != sample.answerable)


def exact(sample: Sample) -> float:
    """1 for the expected number, label or words; 0 otherwise. A refusal where there is none."""
    if not sample.answerable:
        return float(is_refusal(sample.text, sample.language))
    return exact_match(sample.text, sample.expected, sample.language)


def overlap(sample: Sample) -> float:
    """The F1 of its words with those expected. Where there is no answer: 1 for a refusal."""
    if not sample.answerable:
        return float(is_refusal(sample.text, sample.language))
    return token_f1(sample.text, sample.expected, sample.language)


def grounded(sample: Sample) -> float:
    """Whether the passage supports it, by the rules of ``linnet.grounding``: 1, or 0 where it says
    otherwise, and between where they cannot tell. Where there is no answer: 1 for a refusal."""
    if is_refusal(sample.text, sample.language):
        return float(not sample.answerable)
    if not sample.answerable or not sample.text.strip() or sample.passage is None:
        return 0.0
    verdict = check(sample.text, sample.passage, language=sample.language)
    if verdict.status == "supported":
        return 1.0
    return 0.5 * verdict.score if verdict.status == "undecided" else 0.0


def ends(sample: Sample) -> float:
    """1 where it ended by itself."""
    return float(sample.ended)


def concise(sample: Sample) -> float:
    """1 up to twice the words that were expected, falling to 0 at six times; 0 for nothing."""
    if not sample.text.strip():
        return 0.0
    wanted = max((len(words_of(each, sample.language)) for each in sample.expected), default=20)
    over = len(words_of(sample.text, sample.language)) / max(1, wanted)
    return min(1.0, max(0.0, (6 - over) / 4))


REWARDS: dict[str, Reward] = {
    "well_formed": well_formed,
    "quotes": quotes,
    "cites": cites,
    "refuses": refuses,
    "exact": exact,
    "overlap": overlap,
    "grounded": grounded,
    "ends": ends,
    "concise": concise,
}
"""By name. The first line of each says what it gives."""


_READ: Mapping[str, tuple[str, Callable[[Sample], bool]]] = {
    "quotes": ("passage", lambda sample: bool(sample.passage)),
    "grounded": ("passage", lambda sample: bool(sample.passage)),
    "cites": ("cites", lambda sample: sample.row.get("cites") is not None),
    "exact": ("answer", lambda sample: bool(sample.expected)),
    "overlap": ("answer", lambda sample: bool(sample.expected)),
}
"""What a reward reads of the row where there is an answer, and whether it is there."""


@dataclass(frozen=True)
class Rewards:
    """Rewards with their weights."""

    parts: Mapping[str, tuple[Reward, float]]

    def of(self, sample: Sample, *, source: str = "") -> dict[str, float]:
        """Each of them, by name. ``source``: the row of the prompt, for messages. Raises
        TrainingError for one that fails, or gives no number from 0 to 1."""
        return {
            name: _called(name, reward, sample, source) for name, (reward, _) in self.parts.items()
        }

    def unread(self, samples: Sequence[Sample]) -> dict[str, tuple[str, int]]:
        """Rewards that need what some rows have not: the column, and of how many rows."""
        found = {}
        for name, (reward, _) in self.parts.items():
            if name in _READ and reward is REWARDS[name]:
                column, is_there = _READ[name]
                count = sum(each.answerable and not is_there(each) for each in samples)
                if count:
                    found[name] = column, count
        return found

    def total(self, each: Mapping[str, float]) -> float:
        """All of them by their weights, which are taken as shares."""
        whole = sum(abs(weight) for _, weight in self.parts.values())
        return sum(weight * each[name] for name, (_, weight) in self.parts.items()) / whole


def _called(name: str, reward: Reward, sample: Sample, source: str) -> float:
    answered = f"{source or 'a prompt'}, answered by {json.dumps(sample.text[:80])}"
    given: Any
    try:
        given = reward(sample)
    except (Exception, SystemExit) as error:
        raise TrainingError(
            f"the reward '{name}' failed on {answered} ({_reason(error)})"
        ) from error
    try:  # (A tensor of one number is one, too; a text is none.)
        found = math.nan if isinstance(given, str | bytes) else float(given)
    except (TypeError, ValueError, RuntimeError):
        found = math.nan
    if not -_ROUNDING <= found <= 1 + _ROUNDING:
        raise TrainingError(
            f"the reward '{name}' must give a number from 0 to 1. Got {show(given)} for {answered}"
        )
    return found


_ROUNDING = 1e-6  # a mean of grades may be beyond by as much


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def choose_rewards(wanted: Sequence[str], own: Mapping[str, Reward] | None = None) -> Rewards:
    """The rewards of ``NAME`` or ``NAME=WEIGHT``. Raises ConfigError for what is unknown."""
    known = {**REWARDS, **(own or {})}
    parts: dict[str, tuple[Reward, float]] = {}
    for given in wanted:
        name, separator, weight = given.partition("=")
        if name not in known:
            raise ConfigError(f"rewards: there is no '{name}'; there are: {', '.join(known)}")
        try:
            number = float(weight) if separator else 1.0
        except ValueError:
            raise ConfigError(f"rewards: a weight is a number. Got '{given}'") from None
        if not math.isfinite(number) or not number:
            raise ConfigError(f"rewards: a weight is a number other than 0. Got '{given}'")
        if name in parts:
            raise ConfigError(f"rewards: '{name}' is there twice")
        parts[name] = known[name], number
    if not parts:
        raise ConfigError(f"expected rewards, such as refuses or exact=2: {', '.join(known)}")
    return Rewards(parts)


@dataclass(frozen=True)
class OwnRewards:
    """The rewards of an owner's file."""

    functions: Mapping[str, Reward]
    files: tuple[Path, ...]
    """Whose code it is: the file, and the modules beside it that it imports."""

    @property
    def hash(self) -> str:
        """Of all of their code."""
        hashes = [artifact.hash_file(file) for file in self.files]
        return (
            hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
        )


def load_rewards(file: Path) -> OwnRewards:
    """The functions of a Python file by their names, those that begin with ``_`` left out.

    The file's code is run; it may import modules that lie beside it. Raises ConfigError where it
    cannot be run, or has no function.
    """
    spec = importlib.util.spec_from_file_location("linnet_rewards", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise ConfigError(f"{file}: expected a Python file of functions that reward a sample")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    with _importable(file.resolve().parent) as beside:
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            raise ConfigError(f"{file}: cannot be run ({_reason(error)})") from error
    found = {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and callable(value)
        and getattr(value, "__module__", None) == module.__name__
        and not isinstance(value, type)
    }
    if not found:
        raise ConfigError(f"{file}: has no function that rewards a sample")
    return OwnRewards(found, (file, *beside))


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[list[Path]]:
    """Modules in a folder can be imported meanwhile; afterwards, the files of those that were.

    They are not kept by name: another file may lie beside another module of that name.
    """
    before, files = set(sys.modules), list[Path]()
    sys.path.insert(0, str(folder))
    try:
        yield files
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            origin = getattr(sys.modules[name], "__file__", None)
            if origin is not None and _lies_in(folder, Path(origin).resolve(), name):
                files.append(Path(origin).resolve())
                del sys.modules[name]
        files.sort()


def _lies_in(folder: Path, file: Path, module: str) -> bool:
    """Whether a module was found in the folder itself, and not in an environment below it."""
    if not file.is_relative_to(folder):
        return False
    return file.relative_to(folder).parts[0].removesuffix(".py") == module.partition(".")[0]
