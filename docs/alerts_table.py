"""The table of alerts in docs/monitoring.md, made of the rules themselves."""

from __future__ import annotations

from pathlib import Path

import yaml

RULES = Path(__file__).parent / "monitoring" / "alerts.yml"


def all_alerts() -> str:
    """Return a table of the alerts: name, expression, patience and severity of each."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rows = [
        f"| `{rule['alert']}` | `{rule['expr']}`{_patience(rule)} | {rule['labels']['severity']} |"
        for group in groups
        for rule in group["rules"]
    ]
    return "\n".join(["| alert | when | severity |", "|---|---|---|", *rows]) + "\n"


def _patience(rule: dict[str, str]) -> str:
    return f", for {rule['for']}" if "for" in rule else ""
