"""Customers' names at the destination, from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from http_sink.conftest import Opener, batch_of
from http_sink.double import Destination
from meter.errors import RetryableSinkError
from meter_http.customers import Customers
from support.facts import completed


def replace(path: Path, text: str) -> None:
    """Write the file as programs should: another one, then a rename."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)


def test_the_file_names_the_subject_and_who_is_not_in_it_is_held(
    sink: Opener, destination: Destination, tmp_path: Path
) -> None:
    path = tmp_path / "customers.yaml"
    path.write_text("acme: sub_1\n007: NO\n")
    opened = sink(customers={"file": path})
    report = opened.deliver(
        batch_of([completed(1), completed(2, customer_id="007"), completed(3, customer_id="x\n")])
    )
    sent = destination.asked[0].json
    assert [(e["subject"], e["data"]["customer_id"]) for e in sent] == [
        ("sub_1", "acme"),
        ("NO", "007"),
    ]
    assert report.held == {
        "assemblyai:transcript:3": "customer 'x\\n' has no line in customers.yaml; add one, meter "
        "reads the file again by itself"
    }


def test_a_new_line_frees_what_is_held(
    sink: Opener, destination: Destination, tmp_path: Path
) -> None:
    path = tmp_path / "customers.yaml"
    path.write_text("other: sub_0\n")
    opened = sink(customers={"file": path})
    assert opened.deliver(batch_of([completed(1)])).held
    assert opened.tend() is None
    replace(path, "other: sub_0\nacme: sub_1\n")
    report = opened.tend()
    assert report is not None
    assert report.hasten
    assert opened.tend() is None
    assert list(opened.deliver(batch_of([completed(1)])).delivered)
    assert destination.asked[0].json[0]["subject"] == "sub_1"


def test_a_file_that_broke_leaves_what_was_known_in_use_and_says_so(
    sink: Opener, destination: Destination, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "customers.yaml"
    path.write_text("acme: sub_1\n")
    opened = sink(customers={"file": path})
    replace(path, "acme: [1]\n")
    assert opened.tend() is None
    assert "http.customers_unused" in caplog.text
    path.unlink()
    assert opened.tend() is None
    assert list(opened.deliver(batch_of([completed(1)])).delivered)
    assert destination.asked[0].json[0]["subject"] == "sub_1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("acme: sub_1\nacme: sub_2\n", "customers.yaml: line 2: this customer stands here already"),
        ("acme:\n", "customers.yaml: line 1: expected a customer_id and a name for it"),
        ("acme: null\n", "customers.yaml: line 1: expected a customer_id and a name for it"),
        ('"": sub\n', "customers.yaml: line 1: expected a customer_id and a name for it"),
        ("a: b\nc: [d]\n", "customers.yaml: line 2: expected a customer_id and one name for it"),
        ("- acme\n", "customers.yaml: line 1: expected lines such as `acme: sub_123`"),
        ("", "customers.yaml: line 1: expected lines such as `acme: sub_123`"),
        ("acme: 'x\n", "customers.yaml: line 2: not YAML"),
        ("acme: \x07\n", "customers.yaml: cannot be read: ReaderError"),
    ],
)
def test_a_file_with_faults_is_not_used_and_is_tried_again(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "customers.yaml"
    path.write_text(text)
    customers = Customers(path)
    with pytest.raises(RetryableSinkError) as raised:
        customers.refresh()
    assert str(raised.value).startswith(words)
    replace(path, "acme: sub_1\n")
    assert customers.refresh()
    assert customers.find("acme") == "sub_1"


def test_a_file_that_is_not_utf8_or_not_there_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "customers.yaml"
    with pytest.raises(RetryableSinkError, match=r"customers.yaml: No such file"):
        Customers(path).refresh()
    path.write_bytes(b"acme: \xff\n")
    with pytest.raises(RetryableSinkError, match=r"customers.yaml: not UTF-8; save it as UTF-8"):
        Customers(path).refresh()


def test_csv_has_two_columns(tmp_path: Path) -> None:
    path = tmp_path / "customers.csv"
    path.write_text('customer_id,name\nacme,sub_1\n"a,b","sub ""2"""\n\n')
    customers = Customers(path)
    assert customers.refresh()
    assert customers.find("a,b") == 'sub "2"'
    assert len(customers) == 2
    path.write_text("acme,sub_1,x\n")
    with pytest.raises(RetryableSinkError, match=r"line 1: expected two columns, found 3"):
        Customers(path).refresh()


def test_check_counts_the_file_s_lines(sink: Opener, tmp_path: Path) -> None:
    path = tmp_path / "customers.yaml"
    path.write_text("acme: sub_1\n")
    first, _ = sink(customers={"file": path}).check()
    assert first == "1 customers have a name in the file"
