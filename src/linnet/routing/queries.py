"""Questions of which it is known how well models answered them: what a router learns from.

Read from files of four kinds, told apart by what is in them:

* ``outcomes.jsonl`` of ``linnet compare``: a row for each answer (``outcomes``);
* a table, CSV or JSONL, with a row for each question: ``prompt`` or ``question``, and for each
  model a column of its quality (0 to 1, or true and false), with ``MODEL_response``, ``MODEL_cost``
  and ``MODEL_seconds`` where there are such, as RouteLLM publishes its results;
* ``feedback.jsonl`` of an index: what people said of local answers;
* rated calls of a log whose owner keeps contents.

The latter two know one model's answer to each question only.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from linnet.config import parse_json, show
from linnet.errors import DataError
from linnet.routing.config import LOCAL
from linnet.routing.outcomes import LONGEST_LINE, ModelOutcome, read_outcomes

PROMPTS = ("prompt", "question")
MOST_QUERIES = 1_000_000
LARGEST_TABLE = 1 << 30
_SUFFIXES = ("response", "cost", "seconds")
_TRUTHS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}


@dataclass(frozen=True)
class Query:
    """One question, and what came of it by model."""

    id: str
    question: str
    outcomes: Mapping[str, ModelOutcome]


@dataclass
class Queries:
    """Many, with what is to be known of how they were read."""

    rows: list[Query] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def models(self) -> tuple[str, ...]:
        """Those that answered, by how often, then by name."""
        counts = Counter(model for row in self.rows for model in row.outcomes)
        return tuple(sorted(counts, key=lambda model: (-counts[model], model)))

    def of(self, models: Sequence[str]) -> Queries:
        """The questions that all of these answered; others are counted."""
        kept = [row for row in self.rows if all(model in row.outcomes for model in models)]
        notes = list(self.notes)
        if left := len(self.rows) - len(kept):
            notes.append(
                f"{left:,} questions were left out: not all of {', '.join(models)} answered them."
            )
        return Queries(kept, notes)


class Rated(Protocol):
    """A call of a log, as far as routers look at one; see ``monitor.entry.Entry``."""

    @property
    def id(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def place(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def cost(self) -> int: ...
    @property
    def would_cost(self) -> int | None: ...
    @property
    def refused(self) -> bool: ...
    @property
    def probability(self) -> float | None: ...
    @property
    def in_scope(self) -> float | None: ...
    @property
    def grounded(self) -> float | None: ...
    @property
    def decided_by(self) -> str: ...
    @property
    def score(self) -> float | None: ...
    @property
    def threshold(self) -> float | None: ...
    @property
    def good(self) -> bool | None: ...
    @property
    def question(self) -> str | None: ...
    @property
    def answer(self) -> str | None: ...


def read_queries(files: Iterable[Path | str]) -> Queries:
    """What files hold, together. Raises DataError, naming file and line."""
    found = Queries()
    for file in map(Path, files):
        own = _read(file)
        found.rows += own.rows
        found.notes += own.notes
    if len(found.rows) > MOST_QUERIES:
        raise DataError(f"expected at most {MOST_QUERIES:,} questions. Got {len(found.rows):,}")
    return joined(found)


def joined(queries: Queries) -> Queries:
    """One for each question: what is known of it in several rows is put together.

    Two outcomes of one model are a matter of chance, and their mean counts.
    """
    by_question: dict[str, dict[str, list[ModelOutcome]]] = {}
    ids: dict[str, str] = {}
    for row in queries.rows:
        ids.setdefault(row.question, row.id)
        own = by_question.setdefault(row.question, {})
        for model, outcome in row.outcomes.items():
            own.setdefault(model, []).append(outcome)
    rows = [
        Query(ids[question], question, {model: _mean(every) for model, every in own.items()})
        for question, own in by_question.items()
    ]
    notes = list(queries.notes)
    if again := len(queries.rows) - len(rows):
        notes.append(f"{again:,} rows repeat the question of another one: put together.")
    return Queries(rows, notes)


def queries_of_calls(calls: Iterable[Rated]) -> Queries:
    """Rated calls of a log; those without a verdict, or without the question, are counted."""
    rows, silent, unrated = [], 0, 0
    for call in calls:
        if call.good is None:
            unrated += 1
            continue
        if call.question is None:
            silent += 1
            continue
        model = LOCAL if call.place == "here" else call.model
        signals = {
            name: value
            for name in ("probability", "in_scope", "grounded")
            if (value := getattr(call, name)) is not None
        }
        outcome = ModelOutcome(
            call.id, call.question, model, float(call.good), call.cost / 1e12, call.seconds,
            call.answer or "", {**signals, "refused": float(call.refused)},
        )  # fmt: skip
        rows.append(Query(call.id, call.question, {model: outcome}))
    notes = []
    if unrated:
        notes.append(f"{unrated:,} calls were left out: nobody rated them.")
    if silent:
        notes.append(f"{silent:,} rated calls were left out: the log does not keep contents.")
    return joined(Queries(rows, notes))


def _read(file: Path) -> Queries:
    if not file.is_file():
        raise DataError(f"{file}: expected a file of outcomes, but there is none")
    if file.stat().st_size > LARGEST_TABLE:
        raise DataError(f"{file}: expected at most {LARGEST_TABLE:,} bytes")
    if file.suffix.lower() == ".csv":
        return _table(_csv_rows(file), str(file))
    first = next(_json_rows(file), None)
    if first is None:
        raise DataError(f"{file}: expected rows of outcomes, but it is empty")
    row = first[1]
    if "model" in row and "quality" in row:
        return _of_outcomes(read_outcomes(file), str(file))
    if "good" in row and "question" in row:
        return _feedback(_json_rows(file), str(file))
    return _table(_json_rows(file), str(file))


def _of_outcomes(outcomes: Iterable[ModelOutcome], where: str) -> Queries:
    grouped: dict[str, dict[str, ModelOutcome]] = {}
    for each in outcomes:
        own = grouped.setdefault(each.id, {})
        if own and next(iter(own.values())).question != each.question:
            raise DataError(f"{where}: two questions have the id {show(each.id)}")
        own[each.model] = each
    rows = [Query(id, next(iter(own.values())).question, own) for id, own in grouped.items()]
    return Queries(rows)


def _feedback(rows: Iterator[tuple[int, dict[str, Any]]], where: str) -> Queries:
    last: dict[str, Query] = {}
    for line, row in rows:
        question, good = row.get("question"), row.get("good")
        if not isinstance(question, str) or not isinstance(good, bool):
            raise DataError(f"{where}, line {line}: expected feedback, with question and good")
        id = str(row.get("answer") or line)
        signals = {"refused": float(bool(row.get("refused")))}
        if isinstance(row.get("probability"), int | float):
            signals["probability"] = float(row["probability"])
        outcome = ModelOutcome(id, question, LOCAL, float(good), 0.0, 0.0, "", signals)
        last[id] = Query(id, question, {LOCAL: outcome})  # the last word about an answer counts
    return Queries(list(last.values()))


def _table(rows: Iterator[tuple[int, dict[str, Any]]], where: str) -> Queries:
    found = Queries()
    models: tuple[str, ...] = ()
    for number, (line, row) in enumerate(rows):
        prompt = next((name for name in PROMPTS if isinstance(row.get(name), str)), None)
        if prompt is None:
            raise DataError(
                f"{where}, line {line}: expected a question in 'prompt' or 'question'. "
                f"Got the columns {show(list(row))}"
            )
        if not number:
            models = _models(row, where)
            used = {prompt, "id", *models, *(f"{m}_{s}" for m in models for s in _SUFFIXES)}
            if unused := [name for name in row if name not in used]:
                found.notes.append(f"{where}: columns that are not used: {', '.join(unused)}.")
        id = str(row.get("id") or f"{where}:{line}")
        outcomes = {}
        for model in models:
            quality = _quality(row.get(model))
            if quality is None:
                if row.get(model) in (None, ""):
                    continue
                raise DataError(
                    f"{where}, line {line}: expected the quality of '{model}', from 0 to 1 or "
                    f"true or false. Got {show(row.get(model))}"
                )
            cost = _amount(row.get(f"{model}_cost"), f"{where}, line {line}: {model}_cost")
            seconds = _amount(row.get(f"{model}_seconds"), f"{where}, line {line}: {model}_seconds")
            outcomes[model] = ModelOutcome(
                id, row[prompt], model, quality, cost, seconds or 0.0,
                str(row.get(f"{model}_response") or ""),
            )  # fmt: skip
        found.rows.append(Query(id, row[prompt], outcomes))
    if not found.rows:
        raise DataError(f"{where}: expected rows of outcomes, but it is empty")
    return found


def _models(row: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The columns that are qualities: those that have answers of their own, or else all numbers
    from 0 to 1 that are no part of another column."""
    every = [name for name in row if name not in (*PROMPTS, "id")]
    beside = {name for name in every for other in every for end in _SUFFIXES
              if name == f"{other}_{end}"}  # fmt: skip
    answering = [name for name in every if f"{name}_response" in row]
    found = answering or [
        name for name in every if name not in beside and _quality(row[name]) is not None
    ]
    if not found:
        raise DataError(
            f"{where}: expected a column for each model with the quality of its answers, from 0 to "
            f"1 or true or false. Got {show(every)}"
        )
    return tuple(found)


def _quality(value: Any) -> float | None:
    number = _TRUTHS.get(value.strip().lower()) if isinstance(value, str) else None
    if number is None:
        try:
            number = float(value)
        except (TypeError, ValueError):
            return None
    return number if 0 <= number <= 1 else None


def _amount(value: Any, where: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise DataError(f"{where}: expected a number, 0 or more. Got {show(value)}")
    return number


def _csv_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    before = csv.field_size_limit(LONGEST_LINE)
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = csv.DictReader(opened, strict=True)
            names = rows.fieldnames or []
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise DataError(f"{file}: two columns are named {show(twice)}")
            for row in rows:
                if None in row or None in row.values():
                    raise DataError(
                        f"{file}, line {rows.line_num}: expected {len(names)} fields, as the first "
                        "line has"
                    )
                yield rows.line_num, row
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{file}: cannot be read as CSV ({error})") from None
    finally:
        csv.field_size_limit(before)


def _json_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with file.open("rb") as opened:
            number = 0
            while line := opened.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise DataError(f"{file}, line {number}: has more than {LONGEST_LINE:,} bytes")
                if not line.strip():
                    continue
                try:
                    row = parse_json(line.decode("utf-8-sig"))
                except ValueError as error:
                    raise DataError(f"{file}, line {number}: not valid JSON: {error}") from None
                if not isinstance(row, dict):
                    raise DataError(
                        f"{file}, line {number}: expected a JSON object. Got {show(row)}"
                    )
                yield number, row
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None


def _mean(outcomes: Sequence[ModelOutcome]) -> ModelOutcome:
    if len(outcomes) == 1:
        return outcomes[0]
    first = outcomes[0]
    costs = [each.cost for each in outcomes if each.cost is not None]
    return ModelOutcome(
        first.id, first.question, first.model,
        sum(each.quality for each in outcomes) / len(outcomes),
        sum(costs) / len(costs) if costs else None,
        sum(each.seconds for each in outcomes) / len(outcomes), first.answer, first.signals,
    )  # fmt: skip
