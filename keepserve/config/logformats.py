r"""The format of access lines, as a setting: three known ones by name, or text with fields in braces.

    {client_host} {method} {path} {status} {duration_ms} {header:x-tenant}

Here is which fields there are and how a format is read; how they are found in a request is
`keepserve.telemetry.formats`. The notation is Python's and that of most cloud tools: names that a person can read
without a table, where servers with ``%`` differ from each other in what a letter means.
"""

from __future__ import annotations

import re
from difflib import get_close_matches

from keepserve.config.kinds import Kind

KNOWN = ("text", "combined", "json")
"""Formats that have a name."""

FIELDS: dict[str, str] = {
    "time": "when the response was complete, local time: `2026-11-23 10:15:02`",
    "time_iso": "the same in UTC with milliseconds: `2026-11-23T10:15:02.250Z`",
    "time_clf": "the same as Apache and NGINX write it, without brackets: `23/Nov/2026:10:15:02 +0000`",
    "time_epoch": "the same in seconds since 1970: `1795428902.250`",
    "client": "the client with its port, as a trusted proxy tells it or the connection: `203.0.113.7:51234`",
    "client_host": "the client without its port",
    "peer": "who is connected to us: mostly the balancer",
    "proxy_source": "the client as the PROXY protocol's header has it",
    "forwarded_for": "`X-Forwarded-For` (else `Forwarded`) as it was received, believed or not",
    "request": "method, target and version: `GET /x?y=1 HTTP/1.1`, `HTTP/2.0` as NGINX has it",
    "method": "`GET`",
    "target": "path and query as sent, not decoded",
    "path": "the target without its query",
    "query": "what follows the `?`",
    "scheme": "`http` or `https`, as a trusted proxy tells it or the connection",
    "host": "the `Host` field, or `:authority`",
    "protocol": "`HTTP/1.1`, `HTTP/2` or `websocket`",
    "http_version": "`1.0`, `1.1` or `2`",
    "status": "the status sent; 499: the client left before there was one",
    "bytes": "bytes of the body sent; of a WebSocket, of its messages",
    "bytes_clf": "the same, but `-` for none, as Apache and NGINX have it in `combined`",
    "duration_ms": "milliseconds from the end of the request's head to the end of the response",
    "duration_s": "the same in seconds: `0.001340`",
    "first_byte_ms": "milliseconds until the response began",
    "connection_id": "the connection's number in its worker, from 1",
    "connection_requests": "requests on this connection so far: on HTTP/1.1 the request's number on it",
    "stream": "the HTTP/2 stream",
    "pid": "the worker's process",
    "user_agent": "the `User-Agent` field",
    "referer": "the `Referer` field",
    "amzn_trace_id": "the `X-Amzn-Trace-Id` field, which AWS balancers send",
    "traceparent": "the `traceparent` field (W3C Trace Context)",
    "request_id": "the `X-Request-ID` field",
    "trace_id": "the first of these three that is there",
    "tls_version": "`TLSv1.3`: of the connection, or of the client's to a balancer that tells it by PROXY protocol",
    "close_reason": "why the connection ends, if that is known by now: `client_asked`, `max_requests`, `peer_left`",
}
"""The fields of a format and what they are, for the README."""

HEADER = "header:"
"""Begins a field that is a request's header field: ``{header:x-tenant}``."""

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_FIELD_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)
_LITERAL = re.compile(r"[\t\x20-\x7e]*")
_PERCENT = re.compile(r"%(\(|>?[a-zA-Z]\b|\{)")
_LONGEST = 1024


def parse_format(text: str) -> list[tuple[str, str]]:
    r"""Read a format: pairs of literal text and the field that follows it, which is empty at the end.

    ``{{`` and ``}}`` stand for braces, ``\t`` for a tab. Raises ValueError with a sentence.

    >>> parse_format("{method} {header:X-Tenant}!")
    [('', 'method'), (' ', 'header:x-tenant'), ('!', '')]
    """
    text = text.replace("\\t", "\t")
    if len(text) > _LONGEST or not _LITERAL.fullmatch(text):
        raise ValueError(f"a format is one line of at most {_LONGEST} printable ASCII characters, {text!r} is not")
    parts: list[tuple[str, str]] = []
    literal, start = "", 0
    for match in _PIECE.finditer(text):
        literal += text[start : match.start()]
        start = match.end()
        piece = match[0]
        if piece in ("{{", "}}"):
            literal += piece[0]
        elif match[1] is None:
            raise ValueError(f'"{text}" has a "{piece}" that belongs to no field: write it twice to have it as it is')
        else:
            parts.append((literal, _field(match[1].strip())))
            literal = ""
    return [*parts, (literal + text[start:], "")]


def _field(name: str) -> str:
    if name.startswith(HEADER):
        header = name[len(HEADER) :].strip().lower()
        if not _FIELD_NAME.fullmatch(header):
            raise ValueError(f'"{{{name}}}" names no header field: write {{{HEADER}x-tenant}}, for example')
        return HEADER + header
    if name in FIELDS:
        return name
    near = get_close_matches(name.lower(), FIELDS, 1)
    hint = f' (did you mean "{{{near[0]}}}"?)' if near else ""
    raise ValueError(
        f'"{{{name}}}" is not a field of the access log{hint}: there are {", ".join(FIELDS)} and {HEADER}NAME'
    )


class LogFormat(Kind):
    """The name of a format, or the format itself."""

    metavar = "FORMAT"

    def parse(self, text: str) -> str:
        word = text.strip().lower()
        if word in KNOWN:
            return word
        if any(field for _, field in parse_format(text)):
            return text
        near = get_close_matches(word, KNOWN, 1)
        hint = f' (did you mean "{near[0]}"?)' if near else ""
        if _PERCENT.search(text):
            hint = ": the fields of other servers, with %, have names here"
        raise ValueError(
            f'"{text}" is neither {", ".join(KNOWN)} nor a text with fields, such as '
            f'"{{client_host}} {{request}} {{status}}"{hint}'
        )


LOG_FORMAT = LogFormat()
