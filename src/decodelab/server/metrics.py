"""What a server counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from decodelab.server.serving import Models

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The metrics of one server: its requests, and what its engines have seen.

    Args:
        models: those it serves.
    """

    def __init__(self, models: Models) -> None:
        self._registry = registry = CollectorRegistry()
        registry.register(_Engines(models))
        self.requests = Counter(
            "decodelab_requests", "Requests answered, by route and status.", ["route", "status"], registry=registry
        )
        self.latency = Histogram(
            "decodelab_request_seconds", "Time to the end of an answer.", ["route"], buckets=_SECONDS, registry=registry
        )
        self.first = Histogram(
            "decodelab_time_to_first_token_seconds",
            "Time to the first text of streams.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.between = Histogram(
            "decodelab_time_between_tokens_seconds",
            "Time between pieces of text of streams.",
            buckets=_SECONDS,
            registry=registry,
        )

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _Engines(Collector):
    """What the engines have seen so far, read when it is asked for."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def collect(self) -> list[GaugeMetricFamily | CounterMetricFamily]:
        """The numbers of each engine."""
        waiting = GaugeMetricFamily("decodelab_requests_waiting", "Requests in the queue.", labels=["model"])
        rows = GaugeMetricFamily("decodelab_rows_running", "Sequences computed at once.", labels=["model"])
        read = CounterMetricFamily("decodelab_prompt_tokens", "Tokens of prompts answered.", labels=["model"])
        new = CounterMetricFamily("decodelab_generation_tokens", "Tokens generated.", labels=["model"])
        for name, engine in self._models.engines.items():
            waiting.add_metric([name], engine.seen.waiting)
            rows.add_metric([name], engine.seen.rows)
            read.add_metric([name], engine.seen.prompt_tokens)
            new.add_metric([name], engine.seen.new_tokens)
        return [waiting, rows, read, new]
