"""What a server counts, as Prometheus reads it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_FIRST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BETWEEN = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_WHOLE = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


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
