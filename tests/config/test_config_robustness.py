"""However a file is damaged, it becomes a Config or faults that each have a place."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meter.config import Config, ConfigFaults

PIECES = (
    "", " ", "\n", ":", "- ", "[", "]", "{}", "[]", "null", "{a: b}", "[[a]]", "'", '"${A}"', "${",
    "*a", "&a ", "!x ", "<<: ", "type", "live", "0", "\t", "# ", "\u00e9", "- a\n",
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(data=st.data())
def test_a_damaged_file_is_a_config_or_faults(
    load: Callable[..., Config], good: str, secrets: dict[str, str], data: st.DataObject
) -> None:
    text = good
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 40)))
        text = text[:start] + data.draw(st.sampled_from(PIECES)) + text[end:]
    lines = text.count("\n") + 1
    error = fault_of(load, text, {**secrets, "A": "hidden-value"})
    if error is None:
        return
    assert all(1 <= fault.line <= lines + 1 for fault in error.faults)
    assert all(fault.column >= 1 and fault.message for fault in error.faults)
    assert error.exit_code == 2
    assert "hidden-value" not in str(error)


def fault_of(
    load: Callable[..., Config], text: str, environ: dict[str, str]
) -> ConfigFaults | None:
    try:
        load(text, environ)
    except ConfigFaults as error:
        return error
    return None
