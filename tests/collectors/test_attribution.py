from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter.collectors.attribution import Attribution, agree, attribution_of, attribution_of_url

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(customer=TEXT, project=TEXT)
def test_a_customer_is_taken_exactly_as_given(customer: str, project: str) -> None:
    query = urlencode({"customer_id": customer, "project_id": project})
    assert attribution_of(query) == Attribution(customer, {"project_id": project})
    assert attribution_of_url(f"https://m.example/hook?{query}").customer_id == customer


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", Attribution()),
        ("project_id=1", Attribution(None, {"project_id": "1"})),
        ("customer_id=", Attribution(None, {}, "customer_id is empty")),
        ("customer_id=a&customer_id=a", Attribution(None, {}, "customer_id is given twice")),
        (
            "customer_id=a&customer_id=b&x=1",
            Attribution(None, {"x": "1"}, "customer_id is given twice"),
        ),
        ("customer_id=%20a%20", Attribution(" a ")),
        ("customer_id=a+b", Attribution("a b")),
        ("customer_id=a%2Bb", Attribution("a+b")),
        ("customer_id=%FF", Attribution(fault="the query string is not UTF-8")),
        ("customer_id=a&tag=x&tag=y&empty=", Attribution("a", {"tag": "x,y", "empty": ""})),
        ("Customer_ID=a", Attribution(None, {"Customer_ID": "a"})),
        (
            "&".join(f"p{n}=1" for n in range(101)),
            Attribution(fault="the query string has over 100 parameters"),
        ),
    ],
)
def test_a_query_names_a_customer_or_says_why_not(query: str, expected: Attribution) -> None:
    assert attribution_of(query) == expected


@pytest.mark.parametrize("url", [None, 5, "", "http://deleted_by_user", "http://[broken"])
def test_what_is_no_url_names_no_one(url: object) -> None:
    assert attribution_of_url(url) == Attribution()


def test_both_sides_must_agree_where_both_name_a_customer() -> None:
    nobody, acme, other = Attribution(), Attribution("acme", {"p": "1"}), Attribution("other")
    assert agree(acme, nobody) == agree(nobody, acme) == agree(acme, acme) == acme
    assert agree(acme, other).customer_id is None
    assert "different customers" in str(agree(acme, other).fault)
    assert agree(nobody, nobody).customer_id is None
    assert agree(Attribution(fault="customer_id is empty"), acme).fault == "customer_id is empty"
    assert agree(
        Attribution("a", {"p": "2"}), Attribution("a", {"p": "1", "q": "3"})
    ).dimensions == {
        "p": "2",
        "q": "3",
    }
