"""A customers file: every pair as it was written, or every fault with its line."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meter_stripe.mapping_file import BadMapping, read_mapping

ANY_ID = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
STRIPE_ID = st.from_regex(r"cus_[A-Za-z0-9]{1,90}", fullmatch=True)
PAIRS = st.dictionaries(ANY_ID, STRIPE_ID)


def read(text: str | bytes, name: str = "customers.yaml") -> dict[str, str]:
    return read_mapping(Path(name), text.encode() if isinstance(text, str) else text)


def faults(text: str | bytes, name: str = "customers.yaml") -> list[int]:
    with pytest.raises(BadMapping) as caught:
        read(text, name)
    assert len(str(caught.value).splitlines()) == 1
    for line, words in caught.value.faults[:20]:
        assert f"{name}:{line}: {words}" in str(caught.value)
    return [line for line, _ in caught.value.faults]


class TestYaml:
    @pytest.mark.parametrize(
        "customer_id",
        ["007", "123", "NO", "yes", "null", "~", "1:30", "2026-11-22", "1e3", "0x1F", "=", ".inf"],
    )
    def test_a_plain_id_stays_the_text_that_was_written(self, customer_id: str) -> None:
        assert read(f"{customer_id}: 0123\n") == {customer_id: "0123"}

    def test_quotes_comments_flow_and_the_end_of_a_line_are_yamls_own(self) -> None:
        text = '\ufeff# ours\r\n\'a: b\': "cus_1" # old\r\n? c\r\n: cus_2\r\n"<<": cus_3\r\n'
        assert read(text) == {"a: b": "cus_1", "c": "cus_2", "<<": "cus_3"}
        assert read('{"a": "cus_1", "b": "cus_2"}', "customers.json") == {
            "a": "cus_1",
            "b": "cus_2",
        }
        assert read("{}") == {}

    def test_ids_are_neither_trimmed_nor_folded(self) -> None:
        text = "ACME: cus_1\nacme: cus_2\n' acme ': cus_3\ne\u0301: cus_4\né: cus_5\n"
        assert len(read(text)) == 5

    @given(PAIRS)
    def test_any_ids_written_by_a_yaml_library_come_back(self, pairs: dict[str, str]) -> None:
        assert read(yaml.safe_dump(pairs, sort_keys=False, width=10_000)) == pairs
        assert read(yaml.safe_dump(pairs, allow_unicode=True, default_style='"')) == pairs

    def test_an_id_that_stands_twice_is_a_fault_that_names_both_lines(self) -> None:
        text = "a: cus_1\nb: cus_2\n\n'a': cus_1\na: cus_3\n"
        assert faults(text) == [4, 5]
        with pytest.raises(
            BadMapping, match=r":4: customer 'a' stands here again, first on line 1"
        ):
            read(text)

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("b:", "'b' is empty"),
            ("b: ~", "'b' is empty"),
            ("b: null", "'b' is empty"),
            ("b: ''", "'b' is empty"),
            ("'': cus_1", "customer id is empty"),
            ("? # nobody\n: cus_1", "customer id is empty"),
            ("b: [cus_1]", "not a list"),
            ("b: {x: cus_1}", "not a list or a mapping"),
            ("[b]: cus_1", "not a list"),
            ("b: &x cus_1", "anchor"),
            ("&x b: cus_1", "anchor"),
            ("b: *x", "anchor"),
            ("b: !!str cus_1", "tag"),
            ("b: ! cus_1", "tag"),
            ("<<: cus_1", "merge"),
            ("b: ' cus_1'", "begins or ends with a blank"),
            ('b: "cus_1\\u00a0"', "begins or ends with a blank"),
            ('b: "cus\\n1"', "control character"),
            ('b: "cus_\\u200b1"', "cannot be seen"),
            ("b: " + "c" * 101, "longer than 100 characters"),
            ("b: cus_1\n  cus_2", "on one line"),
        ],
    )
    def test_a_line_that_is_no_pair_is_refused_with_its_place(self, line: str, words: str) -> None:
        text = f"a: cus_0\n{line}\nc: cus_9\n"
        assert faults(text) == [2]
        with pytest.raises(BadMapping, match=words):
            read(text)

    def test_nothing_inside_of_what_is_refused_is_taken_for_a_pair(self) -> None:
        assert faults("a:\n  b: cus_1\n  c: [x, {y: z}]\na: cus_2\nd:\n- e\n") == [2, 6]

    @pytest.mark.parametrize(
        ("text", "line", "words"),
        [
            ("", 1, "empty; with no customers yet, write {}"),
            ("# nobody yet\n", 1, "empty"),
            ("- a: cus_1\n", 1, "expected lines such as"),
            ("a:cus_1\nb:cus_2\n", 1, "a blank after the colon"),
            ("a: cus_1\n---\nb: cus_2\n", 2, "second document"),
            ("a: cus_1\nb: 'cus_2\nc: cus_3\n", 4, "not YAML from here on"),
            ("a: cus_1\n\tb: cus_2\n", 2, "not YAML from here on"),
            ("a: cus_1\nb: cus\x07_2\n", 2, "control character"),
            (b"a: cus_1\nb\xff: cus_2\n", 2, "not UTF-8"),
            ("a: cus_1\n".encode("utf-16"), 1, "not UTF-8"),
            ("a: " + "[" * 100_000, 1, "not a list"),
        ],
    )
    def test_what_is_no_such_file_at_all_is_refused(
        self, text: str | bytes, line: int, words: str
    ) -> None:
        assert faults(text) == [line]
        with pytest.raises(BadMapping, match=words):
            read(text)

    def test_every_fault_is_told_at_once_and_a_message_stays_short(self) -> None:
        assert faults("a: cus_1\nb:\na: cus_2\nc: [d]\ne: ' x'\nf: 'cus_9\n") == [2, 3, 4, 5, 7]
        with pytest.raises(BadMapping, match="and 980 more faults") as caught:
            read("".join(f"{number}:\n" for number in range(1000)))
        assert len(caught.value.faults) == 1000
        assert len(str(caught.value)) < 3000


class TestCsv:
    def test_columns_quotes_and_the_end_of_a_line_are_csvs_own(self) -> None:
        text = '\ufeffa,cus_1\r\n"b,""c""",cus_2\r\n\r\n"d\r\ne","cus_3"\r\n007,cus_4'
        assert read(text, "c.csv") == {
            "a": "cus_1",
            'b,"c"': "cus_2",
            "d\r\ne": "cus_3",
            "007": "cus_4",
        }
        assert read("a,cus_1\n", "C.CSV") == {"a": "cus_1"}

    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_only_the_exact_header_in_the_first_row_is_one(self, mark: str) -> None:
        header = f"{mark}customer_id,stripe_customer_id\r\n"
        assert read(f"{header}a,cus_1\r\n", "c.csv") == {"a": "cus_1"}
        assert read(header, "c.csv") == {}
        assert read(f"{mark}customer_id,cus_1\n", "c.csv") == {"customer_id": "cus_1"}
        again = read(f"{header}customer_id,cus_2\n", "c.csv")
        assert again == {"customer_id": "cus_2"}

    @given(
        pairs=PAIRS,
        quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        with_header=st.booleans(),
    )
    def test_any_ids_written_by_a_csv_library_come_back(
        self, pairs: dict[str, str], quoting: Any, *, with_header: bool
    ) -> None:
        text = io.StringIO(newline="")
        writer = csv.writer(text, quoting=quoting)
        if with_header or not pairs:
            writer.writerow(["customer_id", "stripe_customer_id"])
        writer.writerows(pairs.items())
        assert read(text.getvalue(), "c.csv") == pairs

    def test_every_fault_is_told_at_once_with_the_line_where_its_row_begins(self) -> None:
        text = (
            "customer_id,stripe_customer_id\n"
            '"a\nb",cus_1\n'
            "c;cus_2\n"
            "d,cus_3,\n"
            "e, cus_4\n"
            "f,\n"
            ",cus_5\n"
            '"g"h,cus_6\n'
            '"a\nb",cus_7\n'
            'i,"cus_8\n'
        )
        assert faults(text, "c.csv") == [4, 5, 6, 7, 8, 9, 10, 12]
        with pytest.raises(BadMapping, match=r"c\.csv:10: .* first on line 2"):
            read(text, "c.csv")

    def test_a_file_of_nothing_is_no_list_of_nobody(self) -> None:
        assert faults("", "c.csv") == [1]
        assert faults("\n\n", "c.csv") == [1]
        assert faults(b"a,cus_1\n\xe4,cus_2\n", "c.csv") == [2]


@given(ANY_ID)
def test_a_fault_is_one_printable_line_whoever_the_customer_is(customer_id: str) -> None:
    text = yaml.safe_dump({customer_id: ""})
    with pytest.raises(BadMapping) as caught:
        read(text)
    assert str(caught.value).isprintable()
