"""A report on a stretch of the log: plain sentences first, then all figures."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from linnet import output, page
from linnet.errors import ConfigError
from linnet.monitor.drift import Drift
from linnet.monitor.figures import Figures, figures, read_calls
from linnet.monitor.log import Log
from linnet.monitor.sentences import (
    DECIDED_BY,
    Sentence,
    sentences,
    shown_date,
    shown_percent,
    shown_seconds,
)
from linnet.monitor.watching import Watching
from linnet.respond.prices import readable
from linnet.version import __version__

_HOUR = 3600.0
_DAY = 86_400.0
_UNITS = {"m": 60.0, "h": 3600.0, "d": _DAY, "w": 7 * _DAY}


@dataclass(frozen=True)
class Report:
    """A period of a log."""

    sentences: tuple[Sentence, ...]
    figures: Figures
    drift: tuple[Drift, ...]
    compared_with: str = ""
    """The model whose price is the cost that the cloud would have been."""

    def to_json(self) -> dict[str, Any]:
        """As plain values, as the server gives them."""
        return {
            "object": "monitoring",
            "sentences": [asdict(sentence) for sentence in self.sentences],
            "figures": self.figures.to_json(),
            "drift": [asdict(drift) for drift in self.drift],
            "compared_with": self.compared_with,
        }


def report(
    log: Log,
    watching: Watching,
    *,
    since: float | None = None,
    until: float | None = None,
    checked: Mapping[str, bool] | None = None,
    currency: str = "",
    compared_with: str = "",
    zone: tzinfo | None = None,
) -> Report:
    """The report of a period; None: from the first entry on, until now. Raises StoreError.

    ``checked``: see :func:`figures`. ``currency``: of all costs; otherwise as the log has it.
    ``compared_with``: what the cloud's cost is called.
    """
    until = time.time() if until is None else until
    units = _currencies(log, since, until)
    currency = currency or (units[-1] if units else "")
    promises = {gate.promise for gate in watching.gates.values() if gate.promise is not None}
    found = figures(
        read_calls(log, since, until), since=since, until=until,
        promise=promises.pop() if len(promises) == 1 else None,
        checked=checked, currency=currency, zone=zone,
    )  # fmt: skip
    watching.look(log)
    drift = tuple(watching.found(until))
    said = [*sentences(found, drift, compared_with=compared_with, zone=zone)]
    said += _mixed(units)
    said += _misdated(log, max(until, time.time()) + _HOUR)
    return Report(tuple(said), found, drift, compared_with)


def _currencies(log: Log, since: float | None, until: float) -> list[str]:
    """The units of money that costs of a period are in, in order."""
    noted = log.currencies()
    ends = [*(at for at, _ in noted), math.inf][1:] if noted else []
    begin = -math.inf if since is None else since
    return [name for (at, name), end in zip(noted, ends, strict=True) if at < until and end > begin]


def _mixed(units: Sequence[str]) -> Iterator[Sentence]:
    if len(set(units)) > 1:
        text = f"Costs were counted in {', then in '.join(units)}: their sums mean nothing."
        yield Sentence("cost", "bad", text)


def _misdated(log: Log, at: float) -> Iterator[Sentence]:
    """Calls that no period has, as the clock was wrong when they came."""
    with log.reading() as run:
        (count,) = run("SELECT COUNT(*) FROM calls WHERE at >= ?", (at,)).fetchone()
    if count:
        yield Sentence(
            "log", "bad",
            f"{count:,} more {'is' if count == 1 else 'are'} dated in the future and not counted "
            "here: the clock was wrong.",
        )  # fmt: skip


def period(text: str, now: float) -> float | None:
    """When a period begins: ``7d``, ``12h``, ``2026-01-31``, ``all``; 1970 at the earliest.

    Raises ConfigError."""
    if text == "all":
        return None
    if found := re.fullmatch(r"(\d{1,6})([mhdw])", text):
        return max(0.0, now - int(found[1]) * _UNITS[found[2]])
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError, OSError):
        raise ConfigError(
            f"expected a period such as 7d, 12h or all, or a date such as 2026-01-31. Got '{text}'"
        ) from None


def write_page(report: Report, file: Path) -> None:
    """The report as a page: one file that loads nothing. Raises OutputError."""
    output.write_text(file, page_of(report))


def page_of(report: Report) -> str:
    """The page."""
    found = report.figures
    most = max((row.calls for row in found.spans), default=0)
    return page.environment("linnet.monitor").get_template("report.html.jinja").render(
        report=report, found=found, most=max(most, 1), decided_by=DECIDED_BY, version=__version__,
        names={"queue": "waiting", "retrieval": "searching", "first": "until it began",
               "total": "all of it"},
        money=lambda value: readable(value, found.currency),
        seconds=shown_seconds, percent=shown_percent,
        date=lambda at: shown_date(at, None),
    )  # fmt: skip
