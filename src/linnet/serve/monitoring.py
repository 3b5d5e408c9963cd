"""What a server's log says of its answers: read in a thread, and kept for as long as it is new."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from linnet import artifact
from linnet.answers.gate.gate import KIND
from linnet.errors import LinnetError
from linnet.monitor.report import report
from linnet.monitor.watching import FittedOn, Watching, fitted_on, reference_model
from linnet.respond.prices import money
from linnet.serve.logs import LOGGER

if TYPE_CHECKING:
    from pathlib import Path

    from linnet.monitor.drift import Drift
    from linnet.monitor.log import Log
    from linnet.serve.catalog import Catalog

FRESH_SECONDS = 10.0
"""So long a report is given again, to however many look."""
DRIFT_SECONDS = 60.0
"""So often drift is looked for, for metrics, where nobody asks for a report."""
MOST_KEPT = 8
"""Reports of different periods."""
SHOWN = 20
"""Questions that are shown, where the log has contents."""


class Monitoring:
    """The reports of a server; called from threads, as reading a long log takes time."""

    def __init__(self, log: Log, catalog: Catalog) -> None:
        self._log, self._catalog = log, catalog
        self._lock = threading.Lock()
        """Held by the one that reads."""
        self._watching = Watching(names={})
        self._contents: dict[str, str] = {}
        """Of the gates that are watched by, by the names of their documents."""
        self._kept: dict[str, tuple[float, dict[str, Any]]] = {}
        self._drift: tuple[Drift, ...] = ()
        self._looked = -math.inf
        self._looking = threading.Event()

    def report(self, period: str, since: float | None) -> dict[str, Any]:
        """The report of a period, by whose name it is kept. Raises StoreError."""
        with self._lock:
            at, kept = self._kept.get(period, (-math.inf, {}))
            if time.monotonic() - at < FRESH_SECONDS:
                return kept
            self._watch()
            routing = self._catalog.routing
            made = report(
                self._log, self._watching, since=since,
                currency=routing.settings.currency if routing is not None else "",
                compared_with=reference_model(routing.settings) if routing is not None else "",
            )  # fmt: skip
            self._drift, self._looked = made.drift, time.monotonic()
            found = {
                **made.to_json(), "period": period, "budget": self._budget(),
                "models": self._models(), "log": self.log_state(),
            }  # fmt: skip
            self._kept[period] = time.monotonic(), found
            while len(self._kept) > MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            return found

    def latest_drift(self) -> Sequence[Drift]:
        """What is known of drift. It is looked for in the background, so that nobody waits."""
        found = self._drift  # before anybody looks, who may be quick
        if time.monotonic() - self._looked >= DRIFT_SECONDS and not self._looking.is_set():
            self._looking.set()
            threading.Thread(target=self._look, name="linnet-drift", daemon=True).start()
        return found

    def _look(self) -> None:
        try:
            self.drift()
        except LinnetError as error:
            LOGGER.warning("drift cannot be told", extra={"facts": {"reason": str(error)}})
        finally:
            self._looking.clear()

    def drift(self) -> Sequence[Drift]:
        """As of late. Raises StoreError."""
        with self._lock:
            if time.monotonic() - self._looked >= DRIFT_SECONDS:
                self._watch()
                self._watching.look(self._log)
                self._drift = tuple(self._watching.found(time.time()))
                self._looked = time.monotonic()
            return self._drift

    def shown(self, since: float | None) -> list[dict[str, Any]]:
        """The last questions that were refused or judged bad, where the log has contents.

        Raises StoreError.
        """
        with self._log.reading() as run:
            rows = run(
                "SELECT at, state, good, probability, question, answer FROM calls "
                "WHERE at >= ? AND question IS NOT NULL AND (state = 'refused' OR good = 0) "
                "ORDER BY at DESC LIMIT ?",
                (-math.inf if since is None else since, SHOWN),
            ).fetchall()
        names = ("at", "state", "good", "probability", "question", "answer")
        return [
            {**dict(zip(names, row, strict=True)), "good": None if row[2] is None else bool(row[2])}
            for row in rows
        ]

    def log_state(self) -> dict[str, Any]:
        """How the log does."""
        return {
            **asdict(self._log.state), "keeps_contents": self._log.keeps_contents,
            "keep_days": self._log.keep_days,
        }  # fmt: skip

    def _watch(self) -> None:
        """Watch by the gates that there are now; anew where one has changed."""
        names, places = self._documents()
        contents = {name: _content(place) for name, place in places.items()}
        if contents == self._contents and self._watching.names == names:
            return
        gates: dict[str, FittedOn] = {}
        for name, place in places.items():
            try:
                found = fitted_on(place)
            except LinnetError as error:  # it is being made anew, or is damaged
                LOGGER.warning("a gate cannot be read", extra={"facts": {"reason": str(error)}})
                continue
            if found is not None:
                gates[name] = found
        self._watching = Watching(gates, names=names)
        self._contents = contents

    def _documents(self) -> tuple[dict[str, str], dict[str, Path]]:
        """Of each model that answers from documents the name of these, which is that of the first
        model that does; and where they lie."""
        names: dict[str, str] = {}
        places: dict[str, Path] = {}
        for model in self._catalog.models.values():
            if (workspace := model.workspace) is not None:
                same = (name for name, place in places.items() if place == workspace.path)
                names[model.name] = first = next(same, model.name)
                places[first] = workspace.path
            elif model.assistant is not None:
                names[model.name] = model.name
        return names, places

    def _budget(self) -> list[dict[str, Any]]:
        """What was spent and may still be spent, of all together and of keys."""
        routing = self._catalog.routing
        if routing is None:
            return []
        try:
            accounts = routing.ledger.spent()
        except LinnetError as error:
            LOGGER.warning("a budget cannot be read", extra={"facts": {"reason": str(error)}})
            return []
        return [
            {
                "key": account.key,
                "day": float(money(account.day.cost)),
                "month": float(money(account.month.cost)),
                "day_limit": account.limits.day, "month_limit": account.limits.month,
                "left": None if account.left is None else float(money(account.left)),
                "day_tokens": account.day.tokens, "month_tokens": account.month.tokens,
                "tokens_left": account.tokens_left,
            }
            for account in accounts
        ]  # fmt: skip

    def _models(self) -> list[dict[str, Any]]:
        """How the models beyond this machine do."""
        routing = self._catalog.routing
        if routing is None:
            return []
        return [
            {"name": name, **asdict(health)} for name, health in routing.remote.health().items()
        ]


def _content(index: Path) -> str:
    """Of the gate of an index; empty where there is none."""
    try:
        return artifact.read(index / KIND, kind=KIND).content
    except LinnetError:
        return ""
