"""The pipelines file that `meter init` writes, and the variables that it refers to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from meter.cli.init_answers import Answers
    from meter.sinks import Options

__all__ = ["HOSTS", "Variable", "pipelines_text", "variables"]

HOSTS: Final = {
    "us": ("https://api.assemblyai.com", "streaming.assemblyai.com"),
    "eu": ("https://api.eu.assemblyai.com", "streaming.eu.assemblyai.com"),
}
NAMES: Final = {
    "webhook": "transcripts",
    "streaming": "live",
    "ingest": "apps",
    "sqlite": "ledger",
    "csv": "export",
    "parquet": "lake",
    "stripe": "billing",
}
"""What the entries are called; those of plugins are called after their type."""
_PLAIN: Final = re.compile(
    r"(https?://)?[A-Za-z0-9_./~][A-Za-z0-9_./~-]*(:\d+)?(/[A-Za-z0-9_./~-]*)?"
)


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of the file.

    Attributes:
        name: in the environment.
        words: what it is, in a sentence or two.
        own: whether it is a secret of meter's own, to be made up.
    """

    name: str
    words: str
    own: bool = False


def pipelines_text(answers: Answers, options: Mapping[str, type[Options]]) -> str:
    """Return the file.

    Args:
        answers: what was asked for.
        options: by type, the options of the sinks that meter does not bring along.
    """
    return "\n".join(
        [
            "# What meter collects, and where it goes. Try it with no account and no network:",
            "#",
            "#     meter run --sandbox",
            "#",
            "# ${NAME} is a variable of the environment; see .env.example. `meter check` says",
            "# what is wrong in this file, and where; `meter check --connect` tries every key,",
            "# address and path.",
            "",
            f"journal: {_text(answers.journal)} # all that was collected, durably: back it up",
            "",
            *_server(answers),
            "",
            "collectors: # where usage comes from",
            *(line for name in answers.collect for line in _collector(name, answers)),
            "",
            "sinks: # where usage goes; each catches up by itself after an outage",
            *(line for name in answers.sinks for line in _sink(name, answers, options)),
            "",
            "pipelines: # which collectors feed which sinks",
            f"  usage: {{from: {_names(answers.collect)}, to: {_names(answers.sinks)}}}",
            "",
        ]
    )


def _server(answers: Answers) -> Iterator[str]:
    yield "server:"
    yield "  host: 127.0.0.1 # put a reverse proxy with TLS in front"
    yield "  port: 8787"
    if "streaming" in answers.collect:
        yield "  admin_secret: ${METER_ADMIN_SECRET} # for POST /v1/tokens, and the page at /"


def _collector(kind: str, answers: Answers) -> Iterator[str]:
    base_url, streaming_host = HOSTS[answers.region]
    yield f"  {NAMES[kind]}:"
    if kind == "webhook":
        yield "    type: webhook # AssemblyAI posts here when a job is done; submit_job.py"
        yield "    path: /webhooks/assemblyai"
        yield "    api_key: ${ASSEMBLYAI_API_KEY} # fetches how long each job was"
        yield "    secret: ${METER_WEBHOOK_SECRET} # it comes in the header X-Meter-Secret"
        yield f"    base_url: {base_url}"
        if answers.public_url:
            yield f"    public_url: {_text(answers.public_url)} # only jobs that lead here"
        yield "    backfill: {every: 15m, lookback: 24h} # collects what no webhook told"
    elif kind == "streaming":
        yield "    type: streaming # a relay: clients connect to it with a token; stream_client.py"
        yield "    path: /v3/ws"
        yield "    api_key: ${ASSEMBLYAI_API_KEY} # sessions run under it; it never leaves meter"
        yield "    token_secret: ${METER_TOKEN_SECRET} # signs the tokens"
        yield f"    upstream: wss://{streaming_host}"
    else:
        yield "    type: ingest # your servers post to /v1/sessions and /v1/events; stream_tap.py"
        yield "    secret: ${METER_INGEST_SECRET} # they send it as Authorization: Bearer"


def _sink(kind: str, answers: Answers, options: Mapping[str, type[Options]]) -> Iterator[str]:
    yield f"  {_name(kind)}:"
    if kind == "sqlite":
        yield "    type: sqlite # one row an event: datasette usage.db"
        yield "    path: usage.db"
    elif kind == "csv":
        yield "    type: csv"
        yield '    path: "exports/usage-{month}.csv" # also {date}, {customer_id}, {kind}'
    elif kind == "parquet":
        yield "    type: parquet # a folder for DuckDB, pandas, Spark"
        yield "    path: lake"
    elif kind == "stripe":
        yield "    type: stripe # bills what is used from its first run on; `meter stripe plan`"
        yield "    api_key: ${STRIPE_API_KEY}"
        yield "    meters: # `meter stripe setup --apply` makes them at Stripe"
        if {"webhook", "ingest"} & set(answers.collect):
            yield "      - {event_name: transcription_seconds, kinds: async_completed}"
        if {"streaming", "ingest"} & set(answers.collect):
            yield "      - {event_name: streaming_seconds, kinds: stream_terminated}"
        yield "    customers: {file: customers.yaml} # whose usage goes to which Stripe customer"
    elif kind == "http":
        yield "    type: http # POSTs CloudEvents; docs/http.md has other shapes"
        yield "    url: ${USAGE_URL}"
        yield '    headers: {Authorization: "${USAGE_AUTHORIZATION}"}'
    else:
        yield f"    type: {kind} # of a plugin; `meter check --schema` describes its options"
        yield from _required(kind, options[kind])


def _required(kind: str, options: type[Options]) -> Iterator[str]:
    """Yield a line for each option that a plugin's sink must have."""
    for name, field in options.model_fields.items():
        if field.is_required():
            words = (field.description or "").partition("\n")[0]
            value = "usage" if _is_path(field.annotation) else f"${{{_variable(kind, name)}}}"
            yield f"    {name}: {value}" + (f" # {words}" if words.isprintable() and words else "")


def _is_path(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Path)


def _variable(kind: str, option: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", f"{kind}_{option}").strip("_").upper()


def _name(kind: str) -> str:
    return NAMES.get(kind, kind)


def _names(kinds: tuple[str, ...]) -> str:
    return f"[{', '.join(map(_name, kinds))}]"


def _text(value: str) -> str:
    """Write a text as YAML; `${` in it is no variable."""
    if _PLAIN.fullmatch(value) and not value.replace(".", "").isdecimal():
        return value
    return json.dumps(value.replace("${", "$${"), ensure_ascii=False)


_KNOWN: Final = {
    "ASSEMBLYAI_API_KEY": Variable(
        "ASSEMBLYAI_API_KEY", "AssemblyAI's API key, from its dashboard: your jobs run under it."
    ),
    "METER_WEBHOOK_SECRET": Variable(
        "METER_WEBHOOK_SECRET",
        "Your application gives it to AssemblyAI with each job, and AssemblyAI sends it back to "
        "meter in the header X-Meter-Secret.",
        own=True,
    ),
    "METER_TOKEN_SECRET": Variable(
        "METER_TOKEN_SECRET",
        "Signs the tokens with which clients open streaming sessions; meter alone has it. At least "
        "32 characters.",
        own=True,
    ),
    "METER_ADMIN_SECRET": Variable(
        "METER_ADMIN_SECRET",
        "Your backend asks meter for tokens with it (POST /v1/tokens), and people sign in with it "
        "to the page at /.",
        own=True,
    ),
    "METER_INGEST_SECRET": Variable(
        "METER_INGEST_SECRET",
        "Your servers send it with what they post to /v1/sessions and /v1/events.",
        own=True,
    ),
    "STRIPE_API_KEY": Variable(
        "STRIPE_API_KEY",
        "A secret or restricted key of Stripe, from its dashboard; begin with one of a sandbox "
        "(rk_test_ or sk_test_). `meter stripe setup` says what it must be allowed.",
    ),
    "USAGE_URL": Variable("USAGE_URL", "Where usage is posted, such as https://example.com/usage."),
    "USAGE_AUTHORIZATION": Variable(
        "USAGE_AUTHORIZATION", "What is sent there as Authorization, such as Bearer and a key."
    ),
}


def variables(text: str) -> list[Variable]:
    """Return the variables of a file that `pipelines_text` made, each once, in order."""
    names = re.findall(r"\$\{([A-Z][A-Z0-9_]*)\}", re.sub(r"^#.*$", "", text, flags=re.MULTILINE))
    return [
        _KNOWN.get(name, Variable(name, "See the line of pipelines.yaml that names it."))
        for name in dict.fromkeys(names)
    ]
