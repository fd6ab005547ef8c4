"""What an answer means: which errors it is, and whether it is about the events that were sent."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from meter.errors import FatalSinkError, RetryableSinkError
from meter_http.addresses import shown
from meter_http.results import is_later

if TYPE_CHECKING:
    from meter_http.client import Answer
    from meter_http.options import HttpOptions
    from meter_http.words import Words

__all__ = ["Judge"]

_WHAT_TO_DO: Final[dict[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "look at `headers`: the key is missing or wrong",
    HTTPStatus.PAYMENT_REQUIRED: "look at the account there",
    HTTPStatus.FORBIDDEN: "look at `headers`: the key may not do this",
    HTTPStatus.NOT_FOUND: "look at `url`",
    HTTPStatus.METHOD_NOT_ALLOWED: "look at `url`: it takes no POST",
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: "look at the proxy of the environment",
    HTTPStatus.GONE: "look at `url`: nothing is wanted there any more",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "look at `mode`, `body` and `gzip`",
}

_PAGES: Final = (b"<!doctype html", b"<html")
_PAGE_BYTES: Final = 256


class Judge:
    """Reads answers by the options' lists of statuses and words."""

    def __init__(self, options: HttpOptions, words: Words) -> None:
        self._options = options
        self._words = words
        self._at = shown(options.url)

    def took(self, answer: Answer) -> bool:
        """Tell whether the destination took the request; otherwise it refused what was sent.

        Raises:
            RetryableSinkError: neither; the same may well be taken later.
            FatalSinkError: neither; nothing will be taken until a person acts.
        """
        status = answer.status
        self._check_plausible(answer)
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return True
        if status in self._options.refused_statuses or status in self._options.duplicate_statuses:
            return False
        if is_later(status):
            raise RetryableSinkError(self.said(answer), retry_after=answer.retry_after)
        what = _WHAT_TO_DO.get(status)
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            where = f" to {answer.location}" if answer.location else ""
            what = f"it points{where}; redirects are not followed, put the new address into `url`"
        advice = what or "if that is about single events, add it to `refused_statuses`"
        raise FatalSinkError(f"{self._at}: {self.said(answer)}; {advice}")

    def _check_plausible(self, answer: Answer) -> None:
        """Refuse a 2xx that does not mean what it says: all of the usage would seem delivered."""
        if answer.status == HTTPStatus.MULTI_STATUS and self._options.results is None:
            raise FatalSinkError(
                f"{self._at}: HTTP 207 speaks of single events; say where in `results`"
            )
        page = answer.body[:_PAGE_BYTES].lstrip().lower()
        if answer.status < HTTPStatus.MULTIPLE_CHOICES and page.startswith(_PAGES):
            raise FatalSinkError(
                f"{self._at}: HTTP {answer.status} with a web page, no answer of an API; look at "
                "`url`"
            )

    def is_duplicate(self, answer: Answer) -> bool:
        """Tell whether a refusal of one event says that it was there already."""
        return answer.status in self._options.duplicate_statuses or self.says_duplicate(
            answer.body.decode("utf-8", "replace")
        )

    def says_duplicate(self, text: str) -> bool:
        """Tell whether words about one event say that it was there already."""
        return any(word in text for word in self._options.duplicate_words)

    def said(self, answer: Answer) -> str:
        """Return the status and the destination's own words, in one line."""
        return self.words(f"HTTP {answer.status}", answer.body.decode("utf-8", "replace"))

    def words(self, status: str, text: str) -> str:
        """Return a status and words, in one line and without secrets."""
        said = self._words.of(text)
        return f"{status}: {said}" if said else status
