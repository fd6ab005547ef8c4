"""Scrapes a meter as Prometheus does, with the reference parser of the format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

from acceptance.process import Meter


@dataclass(frozen=True)
class Sample:
    name: str
    labels: Mapping[str, str]
    value: float


class Scrape:
    """What one scrape answered."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.kinds: dict[str, str] = {}
        self.samples: list[Sample] = []
        for family in text_string_to_metric_families(text):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            self.kinds[name] = family.type
            self.samples += [Sample(s.name, s.labels, float(s.value)) for s in family.samples]

    def named(self, name: str, **labels: str) -> Iterator[Sample]:
        for sample in self.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                yield sample

    def value(self, name: str, **labels: str) -> float:
        (sample,) = self.named(name, **labels)
        return sample.value

    def total(self, name: str, **labels: str) -> float:
        return sum(sample.value for sample in self.named(name, **labels))


def scrape(meter: Meter, **headers: str) -> Scrape:
    answer = httpx.get(f"{meter.url}/metrics", headers=headers, trust_env=False, timeout=30)
    assert answer.status_code == 200, answer.text
    return Scrape(answer.text)
