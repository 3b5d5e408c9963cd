"""What a server counts, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from linnet.respond.prices import money

if TYPE_CHECKING:
    from linnet.monitor.drift import Drift
    from linnet.monitor.entry import Entry
    from linnet.monitor.log import LogState
    from linnet.routing.accounts import Account
    from linnet.routing.ledger import CutOff
    from linnet.routing.resilience import Health

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_FIRST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BETWEEN = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1)
_WHOLE = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

OTHER = "other"
"""The label of what is not among those that are known."""
MOST_CODES = 50
"""Codes of failures that have a label of their own."""
DECIDED_BY = (
    "request", "rule", "router", "attempt", "policy", "budget", "failure", "default",
)  # fmt: skip
"""See :class:`~linnet.routing.router.Route`."""


class Metrics:
    """The figures of one server. Models are those that it serves, so labels stay few."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "linnet_requests", "Requests answered.", ("path", "status"), registry=self.registry
        )
        self.prompt_tokens = self._counter("prompt_tokens", "Tokens of prompts.")
        self.cached_tokens = self._counter(
            "cached_tokens", "Tokens of prompts whose keys and values were at hand."
        )
        self.written_tokens = self._counter("written_tokens", "Tokens written.")
        self.cancelled = self._counter("cancelled", "Requests whose client left.")
        self.failed = self._counter("failed", "Requests that the engine did not finish.")
        self.first_token = self._histogram(
            "time_to_first_token", "From a request's arrival to its first token.", _FIRST
        )
        self.between = self._histogram(
            "inter_token", "From one token to the next, as they are sent.", _BETWEEN
        )
        self.queued = self._histogram("queue", "Time before a request was computed.", _FIRST)
        self.whole = self._histogram("request", "From a request's arrival to its end.", _WHOLE)
        self.running = self._gauge("running", "Texts of which a token is there.")
        self.waiting = self._gauge("waiting", "Texts without a token yet.")

        self.loaded = self._gauge("model_loaded", "Whether a model is in memory.")
        self.memory = self._gauge("model_memory_bytes", "Memory that a model takes.")
        self.load = self._histogram("model_load", "Opening a model.", _WHOLE)
        self.closings = Counter(
            "linnet_model_closings", "Models that were closed, by the reason.",
            ("model", "reason"), registry=self.registry,
        )  # fmt: skip
        self.opening = Gauge(
            "linnet_waiting_for_models", "Requests whose model is being opened.",
            registry=self.registry,
        )  # fmt: skip

        self.answers = AnswerMetrics(self.registry)

    def closed(self, model: str, reason: str) -> None:
        """Count a model that was closed."""
        self.closings.labels(model, reason).inc()

    def render(self) -> bytes:
        """All of them as text."""
        return generate_latest(self.registry)

    def _gauge(self, name: str, help: str) -> Gauge:
        return Gauge(f"linnet_{name}", help, ("model",), registry=self.registry)

    def _counter(self, name: str, help: str) -> Counter:
        return Counter(f"linnet_{name}", help, ("model",), registry=self.registry)

    def _histogram(self, name: str, help: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(
            f"linnet_{name}_seconds", help, ("model",), buckets=buckets, registry=self.registry
        )


class AnswerMetrics:
    """The figures of answers, as the log has them; labels are few, whatever is asked."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._codes: set[str] = set()
        self.answers = self._counter("answers", "Answers, by how they ended.", "model", "state")
        self.cost = self._counter("cost", "What was billed, in the unit of money.", "model")
        self.would_cost = self._counter(
            "would_cost", "What the model that is compared with would have asked for all answers."
        )
        self.routes = self._counter(
            "routes", "Answers for which a model was chosen, by what decided.", "model",
            "decided_by",
        )  # fmt: skip
        self.escalations = self._counter(
            "escalations", "Answers from beyond this machine, by what decided.", "decided_by"
        )
        self.failures = self._counter(
            "failures", "What failed on the way to answers, by its code.", "code"
        )
        self.verdicts = self._counter("verdicts", "Answers that people judged.", "verdict")
        self.retrieval = self._histogram("retrieval_seconds", "Looking for passages.", _FIRST)
        self.sure = self._histogram(
            "answer_probability", "How likely answers from documents are right.", _SHARES
        )
        self.grounded = self._histogram(
            "groundedness", "The share of an answer's statements that are supported.", _SHARES
        )
        self.budget_left = self._gauge("budget_left", "Money that may still be spent today.", "key")
        self.spent = self._gauge("budget_spent", "Money that was spent.", "key", "period")
        self.breaker = self._gauge(
            "breaker_open", "Whether a model beyond this machine is left alone.", "model"
        )
        self.cut_off = self._gauge(
            "model_cut_off", "Whether a model billed more than was reserved.", "model"
        )
        self.log_waiting = self._gauge("log_waiting", "Calls that are not in the log yet.")
        self.log_dropped = self._gauge("log_dropped", "Calls that did not come into the log.")
        self.log_failing = self._gauge("log_failing", "Whether the log cannot be written.")
        self.drift = self._gauge(
            "drift", "Whether questions have changed.", "documents", "reference"
        )
        self.evidence = self._gauge(
            "drift_evidence", "Decimal logarithm of the evidence that they have.", "documents",
            "reference",
        )  # fmt: skip

    def count(self, entry: Entry, models: Collection[str]) -> None:
        """Count an answer. ``models``: those that there are."""
        model = entry.model if entry.model in models else OTHER
        self.answers.labels(model, entry.state).inc()
        if entry.cost:
            self.cost.labels(model).inc(float(money(entry.cost)))
        if entry.would_cost:
            self.would_cost.inc(float(money(entry.would_cost)))
        if entry.decided_by:
            by = entry.decided_by if entry.decided_by in DECIDED_BY else OTHER
            self.routes.labels(model, by).inc()
            if (entry.place != "here" or entry.cost) and entry.state == "answered":
                self.escalations.labels(by).inc()
        for code in entry.failures if entry.state != "held" else ():
            self.failures.labels(self._code(code)).inc()
        for found, value in (
            (self.retrieval, entry.retrieval_seconds),
            (self.grounded, entry.grounded),
            (self.sure, entry.probability if entry.state == "answered" else None),
        ):
            if value is not None:
                found.observe(value)

    def judged(self, *, good: bool) -> None:
        """Count a verdict."""
        self.verdicts.labels("good" if good else "bad").inc()

    def show_log(self, state: LogState) -> None:
        """How the log does."""
        self.log_waiting.set(state.waiting)
        self.log_dropped.set(state.dropped)
        self.log_failing.set(bool(state.failing))

    def show_routing(
        self,
        health: Mapping[str, Health],
        accounts: Sequence[Account],
        cut_off: Sequence[CutOff],
        keys: Collection[str],
    ) -> None:
        """How models beyond this machine do, and what may be spent on them; ``keys``: those with
        limits of their own."""
        off = {each.model for each in cut_off}
        for name, own in health.items():
            self.breaker.labels(name).set(own.state == "open")
            self.cut_off.labels(name).set(name in off)
        for account in accounts:
            if account.key is not None and account.key not in keys:
                continue
            name = "all" if account.key is None else f"key {account.key}"
            self.spent.labels(name, "day").set(float(money(account.day.cost)))
            self.spent.labels(name, "month").set(float(money(account.month.cost)))
            if account.left is not None:
                self.budget_left.labels(name).set(float(money(account.left)))

    def show_drift(self, found: Iterable[Drift]) -> None:
        """What is known of drift."""
        for one in found:
            labels = one.model or "all", one.reference
            self.drift.labels(*labels).set(one.state == "drifting")
            self.evidence.labels(*labels).set(one.evidence)

    def _code(self, code: str) -> str:
        if code not in self._codes and len(self._codes) >= MOST_CODES:
            return OTHER
        self._codes.add(code)
        return code

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(f"linnet_{name}", help, labels, registry=self._registry)

    def _gauge(self, name: str, help: str, *labels: str) -> Gauge:
        return Gauge(f"linnet_{name}", help, labels, registry=self._registry)

    def _histogram(self, name: str, help: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"linnet_{name}", help, buckets=buckets, registry=self._registry)


class ModelMetrics:
    """The same for one model: labels are looked up once, not for every token."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self.prompt_tokens = metrics.prompt_tokens.labels(model)
        self.cached_tokens = metrics.cached_tokens.labels(model)
        self.written_tokens = metrics.written_tokens.labels(model)
        self.cancelled = metrics.cancelled.labels(model)
        self.failed = metrics.failed.labels(model)
        self.first_token = metrics.first_token.labels(model)
        self.between = metrics.between.labels(model)
        self.queued = metrics.queued.labels(model)
        self.whole = metrics.whole.labels(model)
        self.running = metrics.running.labels(model)
        self.waiting = metrics.waiting.labels(model)
