"""What Prometheus reads at /metrics. Knows names and numbers; the engine, the routes and the desk tell them.

One registry for each server, so that any number of them live in one process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

if TYPE_CHECKING:
    from errata.serve.service import Service

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters and histograms, and the engine's hooks (`started`, `stepped`, `ended`), which its thread calls."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("http_requests", "HTTP requests.", "method", "route", "status")
        self.latency = self._histogram("http_seconds", "Until the answer was complete.", SECONDS, "route")
        self.edits = self._counter("edits", "Edits asked for, by what became of them.", "outcome")
        self.edit_seconds = self._histogram("edit_seconds", "From the request to live.", (*SECONDS, 300))
        self._tokens = self._counter("tokens", "Tokens read and written.", "kind")
        self._hits = self._counter("codebook_hits", "States that an edit replaced.")
        self._lookups = self._counter("codebook_lookups", "Rows of passes, each of which was looked up.")
        self._answers = self._counter("answers", "Requests to the model, by how they ended.", "outcome")
        self._waited = self._histogram("queue_seconds", "Until a request got its row.")
        self._seconds = self._histogram("answer_seconds", "Until an answer was complete.")
        self._batch = self._histogram("batch_rows", "Rows of a forward pass.", ROWS)
        self._step = self._histogram("step_seconds", "Of a forward pass.")

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(f"errata_{name}", help, labels, registry=self.registry)

    def _histogram(self, name: str, help: str, buckets: Sequence[float] = SECONDS, *labels: str) -> Histogram:
        return Histogram(f"errata_{name}", help, labels, buckets=buckets, registry=self.registry)

    def started(self, waited: float) -> None:
        self._waited.observe(waited)

    def stepped(self, rows: int, seconds: float) -> None:
        self._batch.observe(rows)
        self._lookups.inc(rows)
        self._step.observe(seconds)

    def ended(self, outcome: str, prompt: int, completion: int, fired: int, seconds: float) -> None:
        self._answers.labels(outcome).inc()
        self._tokens.labels("prompt").inc(prompt)
        self._tokens.labels("completion").inc(completion)
        self._hits.inc(fired)
        self._seconds.observe(seconds)

    def watch(self, service: Service) -> None:
        """Tell what the service is doing, whenever somebody reads."""
        self.registry.register(_Now(service))

    def text(self) -> bytes:
        return generate_latest(self.registry)


class _Now:
    """Gauges of this moment."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if not self._service.answering:
            return
        stats, follower, desk = self._service.engine.stats(), self._service.follower, self._service.desk
        values = {
            "errata_running": ("Requests with a row.", stats.running),
            "errata_waiting": ("Requests without a row.", stats.waiting),
            "errata_versions": ("Versions of the model that are alive.", stats.versions),
            "errata_head": ("The sheet's last event that answers reflect.", stats.head),
            "errata_edits_in_force": ("Edits in force.", len(follower.state.active())),
            "errata_changes_waiting": ("Changes of the sheet, waiting or under way.", desk.waiting),
            "errata_worker_deaths": ("Workers that died.", desk.deaths),
        }
        for name, (help, value) in values.items():
            yield GaugeMetricFamily(name, help, value)
