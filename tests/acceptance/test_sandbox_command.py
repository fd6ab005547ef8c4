"""The first thing that a newcomer runs."""

import shutil
from pathlib import Path

import pytest

from acceptance import books
from acceptance.process import Meter
from meter.sandbox.customers import CUSTOMERS

pytestmark = pytest.mark.acceptance

COMMITTED = Path(__file__).resolve().parents[2] / "pipelines.yaml"


def test_the_committed_file_runs_in_the_sandbox_and_ends_in_the_usage_table(meter: Meter) -> None:
    shutil.copy(COMMITTED, meter.file)
    done = meter.command("run", "pipelines.yaml", "--sandbox")
    assert done.returncode == 0, done.stdout + done.stderr
    for customer in CUSTOMERS:
        assert customer.customer_id in done.stdout
    assert "the same." in done.stdout
    assert done.stdout.count(": balances") == 3
    (folder,) = meter.folder.glob("meter-sandbox-*")
    assert f"Everything lies in {folder}" in done.stdout
    ledger = books.in_sqlite(folder / "usage.db")
    assert ledger
    assert books.in_csv(folder / "exports") == ledger
    shown = int(done.stdout.split(" seconds recorded")[0].rsplit("\n", 1)[1])
    assert sum(row.seconds for row in ledger) == shown
    billed = done.stdout.split("billing: what was delivered")[1].split("\nEverything")[0]
    rows = [line.split() for line in billed.splitlines() if line.endswith("yes")]
    assert sum(int(row[-3]) for row in rows) == shown
    assert "NO" not in billed
