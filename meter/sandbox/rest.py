"""AssemblyAI's REST API as an ASGI application: routing, keys, and the answers' shapes.

The paths, bodies and statuses are those of AssemblyAI's API description; what it calls "the
previous URL" leads to older transcripts.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from datetime import date
from http import HTTPStatus
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode

import msgspec

from meter.sandbox.documents import list_document, transcript_document
from meter.sandbox.faults import Answer
from meter.sandbox.jobs import Job, JobStore
from meter.sandbox.params import InvalidParamsError, checked_params

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

TRANSCRIPTS = "/v2/transcript"
UPLOAD = "/v2/upload"
BODY_LIMIT = 1 << 20
"""Bytes of a submission that are read; real ones have some hundred."""

STATUSES = ("queued", "processing", "completed", "error")
DEFAULT_LIMIT, LIMIT_MAX = 10, 200

SERVER_ERROR_TEXT = "Server error, developers have been alerted."
ERROR_TEXTS = {429: "Too many requests, please slow down."}


class RefusalError(Exception):
    """An answer other than 200: its status code, and the text of its error body."""

    def __init__(
        self, status_code: int, text: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(text)
        self.status_code = status_code
        self.text = text
        self.headers = dict(headers or {})


class RestApp:
    """The ASGI application. `keys` are the accepted API keys; none given accepts any key.

    `on_submitted` is called with every new job, after its answer was fixed. `stopping` ends slow
    answers early.
    """

    def __init__(
        self,
        jobs: JobStore,
        *,
        keys: Collection[str],
        on_submitted: Callable[[Job], None],
        stopping: asyncio.Event,
    ) -> None:
        self._jobs = jobs
        self._keys = frozenset(keys)
        self._on_submitted = on_submitted
        self._stopping = stopping
        # Exact decimals: a fractional duration arrives digit by digit as it was planned.
        self._encode = msgspec.json.Encoder(decimal_format="number").encode

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; every refusal carries the API's error body."""
        headers: dict[str, str] = {}
        try:
            status_code, body = 200, await self._answer(scope, receive)
        except RefusalError as refusal:
            status_code, headers = refusal.status_code, refusal.headers
            body = self._encode({"error": refusal.text})
        fields = {"content-type": "application/json", "content-length": str(len(body)), **headers}
        await send(
            {
                "type": "http.response.start",
                "status": status_code,
                "headers": [(name.encode(), text.encode()) for name, text in fields.items()],
            }
        )
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Message, receive: Receive) -> bytes:
        method, path = scope["method"], scope["path"].rstrip("/")
        headers = {
            name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]
        }
        key = self._authenticated_key(headers)
        if path == UPLOAD:
            _require_method(method, "POST")
            return await self._upload(receive)
        if path == TRANSCRIPTS:
            _require_method(method, "GET", "POST")
            if method == "POST":
                return self._submit(key, await _read_body(receive, limit=BODY_LIMIT))
            return await self._list(key, scope["query_string"].decode("latin-1"), headers)
        parent, _, transcript_id = path.rpartition("/")
        if parent == TRANSCRIPTS:
            _require_method(method, "GET", "DELETE")
            job = self._own_job(key, transcript_id)
            return self._delete(job) if method == "DELETE" else await self._get(job)
        raise RefusalError(404, "Not found")

    def _authenticated_key(self, headers: Mapping[str, str]) -> str:
        """Return the bare key of `Authorization`; AssemblyAI takes no `Bearer`."""
        key = headers.get("authorization", "")
        if not key:
            raise RefusalError(401, "Authentication error, API token missing/invalid")
        known = key in self._keys if self._keys else " " not in key
        if not known:
            raise RefusalError(401, "Authentication error, API token missing/invalid")
        return key

    def _own_job(self, key: str, transcript_id: str) -> Job:
        job = self._jobs.get(key, transcript_id)
        if job is None:
            raise RefusalError(404, "Transcript lookup error, transcript id not found")
        return job

    def _submit(self, key: str, body: bytes) -> bytes:
        try:
            params = checked_params(msgspec.json.decode(body))
        except msgspec.DecodeError:
            raise RefusalError(400, "Invalid JSON in the request body") from None
        except InvalidParamsError as error:
            raise RefusalError(400, str(error)) from None
        job = self._jobs.submit(key, params)
        answer = self._encode(transcript_document(job))
        self._on_submitted(job)
        return answer

    async def _get(self, job: Job) -> bytes:
        answer = job.answers.popleft() if job.answers else self._jobs.faults.draw_answer(job.chance)
        await self._suffer(answer)
        return self._perhaps_malformed(answer, {**transcript_document(job), **answer.fields})

    def _delete(self, job: Job) -> bytes:
        if not job.is_final:
            raise RefusalError(400, "Cannot delete a transcript that is still being processed")
        job.deleted = True
        return self._encode(transcript_document(job))

    async def _upload(self, receive: Receive) -> bytes:
        """Count the audio and forget it; the URL says nothing about it."""
        size = await _body_size(receive)
        if not size:
            raise RefusalError(400, "Upload failed, the request body is empty")
        return self._encode({"upload_url": f"https://cdn.assemblyai.com/upload/{uuid.uuid4()}"})

    async def _list(self, key: str, query_string: str, headers: Mapping[str, str]) -> bytes:
        answer = self._jobs.faults.draw_answer(self._jobs.list_chance)
        await self._suffer(answer)
        query = dict(parse_qsl(query_string))
        limit = _limit(query)
        origin = f"http://{headers.get('host', 'localhost')}"
        if query.get("status") not in {None, *STATUSES}:
            raise RefusalError(400, f"status must be one of {', '.join(STATUSES)}")
        page = self._jobs.page(
            key,
            # No job of this double is ever throttled.
            limit=0 if query.get("throttled_only") == "true" else limit,
            status=query.get("status"),
            created_on=_created_on(query),
            before=self._cursor(key, query, "before_id"),
            after=self._cursor(key, query, "after_id"),
        )

        def url(**cursor: str) -> str:
            kept = {n: v for n, v in query.items() if n not in {"before_id", "after_id"}}
            return f"{origin}{TRANSCRIPTS}?{urlencode({**kept, 'limit': limit, **cursor})}"

        urls = (
            f"{origin}{TRANSCRIPTS}" + (f"?{query_string}" if query_string else ""),
            url(before_id=page.jobs[-1].transcript_id) if page.has_older else None,
            url(after_id=page.jobs[0].transcript_id) if page.has_newer else None,
        )
        return self._perhaps_malformed(answer, list_document(page, limit, urls, origin))

    def _cursor(self, key: str, query: Mapping[str, str], name: str) -> Job | None:
        transcript_id = query.get(name)
        if transcript_id is None:
            return None
        job = self._jobs.get(key, transcript_id)
        if job is None:
            raise RefusalError(400, f"{name} must be the id of one of your transcripts")
        return job

    async def _suffer(self, answer: Answer) -> None:
        """Let an answer's delay pass, then refuse if it is a refusal."""
        if answer.delay_seconds:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(answer.delay_seconds):
                    await self._stopping.wait()
        if answer.status_code != HTTPStatus.OK:
            retry_after = answer.retry_after_seconds
            raise RefusalError(
                answer.status_code,
                ERROR_TEXTS.get(answer.status_code, SERVER_ERROR_TEXT),
                {} if retry_after is None else {"retry-after": str(retry_after)},
            )

    def _perhaps_malformed(self, answer: Answer, document: Mapping[str, Any]) -> bytes:
        body = self._encode(document)
        return body[: len(body) // 2] if answer.malformed else body


def _require_method(method: str, *allowed: str) -> None:
    if method not in allowed:
        raise RefusalError(405, "Method not allowed", {"allow": ", ".join(allowed)})


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= LIMIT_MAX):
        raise RefusalError(400, f"limit must be an integer from 1 to {LIMIT_MAX}")
    return int(text)


def _created_on(query: Mapping[str, str]) -> date | None:
    text = query.get("created_on")
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise RefusalError(400, "created_on must be a date (YYYY-MM-DD)") from None


async def _read_body(receive: Receive, *, limit: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > limit:
            raise RefusalError(413, "The request body is too large")
        if not message.get("more_body"):
            return bytes(body)


async def _body_size(receive: Receive) -> int:
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            return size
