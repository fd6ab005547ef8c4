"""One page of metrics: samples of the catalogue, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import (
    Metric as Family,
)
from prometheus_client.process_collector import ProcessCollector

from meter.server.catalogue import CATALOGUE

if TYPE_CHECKING:
    from datetime import timedelta

    from meter.figures import Histogram
    from meter.server.catalogue import Metric

__all__ = ["NANOS", "Page"]

NANOS: Final = 1_000_000_000
_FAMILIES: Final[dict[str, Callable[..., Family]]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


class Page:
    """Takes samples one by one; every metric of the catalogue is on it, with samples or without."""

    def __init__(self) -> None:
        """Start with no sample."""
        self._families = {
            metric.name: _FAMILIES[metric.kind](metric.name, metric.help, labels=metric.labels)
            for metric in CATALOGUE
        }

    def put(self, metric: Metric, value: int | timedelta, *labels: str) -> None:
        """Add a sample; a duration is written in seconds, and labels are in the metric's order."""
        number = value if isinstance(value, int) else value.total_seconds()
        self._families[metric.name].add_metric(labels, number)  # type: ignore[attr-defined]  # because each of the three has it, and their base has not

    def put_histogram(
        self, metric: Metric, histogram: Histogram, *labels: str, per: int = 1
    ) -> None:
        """Add a histogram; its numbers are divided by `per`, to be in the metric's unit."""
        counts, total = list(histogram.counts), histogram.total
        bounds = [_text(bound / per) for bound in histogram.bounds]
        sums = [sum(counts[: n + 1]) for n in range(len(counts))]
        buckets = list(zip([*bounds, "+Inf"], sums, strict=True))
        self._families[metric.name].add_metric(labels, buckets, total / per)  # type: ignore[attr-defined]  # because each of the three has it, and their base has not

    def written(self, accept: str) -> tuple[bytes, str]:
        """Return the page and its content type, in the format that an Accept header asks for."""
        registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    def collect(self) -> Iterable[Family]:
        """Yield the families; what the library asks of a collector."""
        return self._families.values()


def _text(bound: float) -> str:
    return f"{bound:g}" if bound % 1 else f"{bound:.1f}"
