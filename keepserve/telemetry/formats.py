"""The fields of access lines and how each is found; lines of the format ``combined`` or of the user's own.

Which fields there are is said in `keepserve.config.logformats`. A format is read once, into the functions of its
fields; a field it does not have costs nothing. Where something is not there, the line has ``-``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from keepserve.config.logformats import HEADER, parse_format
from keepserve.telemetry.lines import (
    LONGEST_LINE,
    MAX_VALUE,
    Methods,
    Values,
    Words,
    escape,
    escape_targets,
    escape_text,
    milliseconds,
)
from keepserve.telemetry.reasons import CloseReason
from keepserve.telemetry.traces import LONGEST as LONGEST_TRACE
from keepserve.telemetry.traces import TRACES

if TYPE_CHECKING:
    from keepserve.asgi.exchange import Exchange
    from keepserve.server.hosting import Hosting
    from keepserve.wire.engine import Request

MAX_HOST = 256

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def clf_time(second: int) -> str:
    """Local time as Apache and NGINX write it; the names of months are English whatever the locale is."""
    now = time.localtime(second)
    return f"{now.tm_mday:02d}/{_MONTHS[now.tm_mon - 1]}/{time.strftime('%Y:%H:%M:%S %z', now)}"


def iso_time(second: int) -> str:
    """UTC as in RFC 3339, up to the point before the fraction."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))


def local_time(second: int) -> str:
    """Local time as people write it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))


_Common = tuple[str, bytes, bytes, str, int, int, float, "Request"]


def escape_value(value: bytes) -> str:
    """`escape` for a header field's value."""
    return escape(value, MAX_VALUE)


class Stamp:
    """A time rendered once a second."""

    __slots__ = ("_render", "_second", "_text")

    def __init__(self, render: Callable[[int], str]) -> None:
        self._render = render
        self._second = -1
        self._text = ""

    def __call__(self, second: int) -> str:
        """The text for a second since the epoch."""
        if second != self._second:
            self._second, self._text = second, self._render(second)
        return self._text


Note = tuple["Hosting", "Exchange", int, float, int, CloseReason | None, str | None]
"""Connection, exchange, status, end (monotonic s), requests on the connection, why it ends, version of TLS."""


def take_note(connection: Hosting, exchange: Exchange, status: int, ended: float) -> Note:
    """Take at the end of a request what a moment later would not be the same; the rest stays as it is."""
    engine = connection.engine
    tls = connection.tls_version if connection.secure else None
    return connection, exchange, status, ended, engine.requests, engine.close_reason, tls


class Facts:
    """All that a line may be made of. ``wall`` is the end of the request in seconds since the epoch."""

    __slots__ = (
        "close_reason",
        "connection",
        "ended",
        "exchange",
        "headers",
        "request",
        "requests",
        "status",
        "tls_version",
        "wall",
    )

    def __init__(self, note: Note, offset: float) -> None:
        (
            self.connection,
            self.exchange,
            self.status,
            self.ended,
            self.requests,
            self.close_reason,
            self.tls_version,
        ) = note
        self.request = self.exchange.request
        self.wall = self.ended + offset
        self.headers: dict[bytes, bytes] = {}
        """Of fields that came several times, the last; filled only if the format has header fields."""

    @property
    def client(self) -> str:
        """The client as a trusted proxy tells it, or the connection."""
        return self.exchange.client or self.connection.client_text

    @property
    def first_byte(self) -> float:
        """Seconds until the response began; one that was sent whole began as it ended."""
        begun = self.exchange.begun_at
        return (self.ended if begun is None else begun) - self.exchange.started


Getter = Callable[[Facts], str]
"""Finds a field and renders it, escaped and bounded; empty: it is not there."""


def host_of(client: str) -> str:
    """A client's text without its port."""
    if client.startswith("["):
        return client[1:].partition("]")[0]
    return client.rpartition(":")[0] if client.count(":") == 1 else client


# What is seen in many requests, escaped.
CLIENTS = Words()
HOSTS = Words(host_of)
METHODS = Methods()
VERSIONS = Words(limit=16)


def _peer(facts: Facts) -> str:
    return CLIENTS[facts.connection.peer_text]


def _proxy_source(facts: Facts) -> str:
    return CLIENTS[source] if (source := facts.connection.proxy_source) else ""


def forwarded_for(fields: list[tuple[bytes, bytes]]) -> str:
    """The chain of proxies as it was received: all the fields of one name, which are one list."""
    values = [value for name, value in fields if name == b"x-forwarded-for"]
    if not values:
        values = [value for name, value in fields if name == b"forwarded"]
    return escape(values[0] if len(values) == 1 else b", ".join(values), MAX_VALUE)


def _request(facts: Facts) -> str:
    request = facts.request
    version = "2.0" if request.http_version == "2" else VERSIONS[request.http_version]
    return f"{METHODS[request.method]} {escape(request.target)} HTTP/{version}"


def protocol(facts: Facts) -> str:
    """``websocket`` where one was granted, else the version."""
    if facts.exchange.socket_accepted:
        return "websocket"
    return f"HTTP/{VERSIONS[facts.request.http_version]}"


def scheme(facts: Facts) -> str:
    """``http`` or ``https``."""
    return facts.exchange.scheme or facts.connection.scheme


def first_byte_ms(facts: Facts) -> str:
    """Milliseconds until the response began."""
    return milliseconds(facts.first_byte)


def stream(facts: Facts) -> str:
    """The HTTP/2 stream; HTTP/1.1 has none."""
    request = facts.request
    return str(request.stream) if request.http_version == "2" else ""


def close_reason(facts: Facts) -> str:
    """Why the connection ends."""
    reason = facts.close_reason
    return reason.value if reason is not None else ""


def _header(name: bytes, limit: int = MAX_VALUE) -> Getter:
    def get(facts: Facts) -> str:
        value = facts.headers.get(name)
        return escape(value, limit) if value else ""

    return get


def _trace_id(facts: Facts) -> str:
    headers = facts.headers
    for name in TRACES:
        if name in headers:
            return escape(headers[name], LONGEST_TRACE)
    return ""


def _pid(facts: Facts) -> str:
    return str(os.getpid())


def _stamped(render: Callable[[int], str]) -> Getter:
    stamp = Stamp(render)
    return lambda facts: stamp(int(facts.wall))


def _iso() -> Getter:
    stamp = Stamp(iso_time)
    return lambda facts: f"{stamp(int(facts.wall))}{int(facts.wall * 1000) % 1000:03d}Z"


def getter_of(field: str) -> Getter:
    """Return what finds a field of `keepserve.config.logformats`."""
    if field.startswith(HEADER):
        return _header(field[len(HEADER) :].encode("ascii"))
    return _GETTERS[field]()


# Each is made anew for each format: some remember.
_GETTERS: dict[str, Callable[[], Getter]] = {
    "time": lambda: _stamped(local_time),
    "time_iso": _iso,
    "time_clf": lambda: _stamped(clf_time),
    "time_epoch": lambda: lambda facts: f"{facts.wall:.3f}",
    "client": lambda: lambda facts: CLIENTS[facts.client],
    "client_host": lambda: lambda facts: HOSTS[facts.client],
    "peer": lambda: _peer,
    "proxy_source": lambda: _proxy_source,
    "forwarded_for": lambda: lambda facts: forwarded_for(facts.request.fields),
    "request": lambda: _request,
    "method": lambda: lambda facts: METHODS[facts.request.method],
    "target": lambda: lambda facts: escape(facts.request.target),
    "path": lambda: lambda facts: escape(facts.request.target.partition(b"?")[0]),
    "query": lambda: lambda facts: escape(facts.request.target.partition(b"?")[2]),
    "scheme": lambda: scheme,
    "host": lambda: _header(b"host", MAX_HOST),
    "protocol": lambda: protocol,
    "http_version": lambda: lambda facts: VERSIONS[facts.request.http_version],
    "status": lambda: lambda facts: str(facts.status),
    "bytes": lambda: lambda facts: str(facts.exchange.sent),
    "bytes_clf": lambda: lambda facts: str(facts.exchange.sent or ""),
    "duration_ms": lambda: lambda facts: milliseconds(facts.ended - facts.exchange.started),
    "duration_s": lambda: lambda facts: f"{facts.ended - facts.exchange.started:.6f}",
    "first_byte_ms": lambda: first_byte_ms,
    "connection_id": lambda: lambda facts: str(facts.connection.number),
    "connection_requests": lambda: lambda facts: str(facts.requests),
    "stream": lambda: stream,
    "pid": lambda: _pid,
    "user_agent": lambda: _header(b"user-agent"),
    "referer": lambda: _header(b"referer"),
    "amzn_trace_id": lambda: _header(b"x-amzn-trace-id", LONGEST_TRACE),
    "traceparent": lambda: _header(b"traceparent", LONGEST_TRACE),
    "request_id": lambda: _header(b"x-request-id", LONGEST_TRACE),
    "trace_id": lambda: _trace_id,
    "tls_version": lambda: lambda facts: escape_text(facts.tls_version or "", 32),
    "close_reason": lambda: close_reason,
}

_OF_HEADERS = frozenset({"host", "user_agent", "referer", "amzn_trace_id", "traceparent", "request_id", "trace_id"})


def needs_headers(field: str) -> bool:
    """Whether a field is looked up in ``Facts.headers``."""
    return field in _OF_HEADERS or field.startswith(HEADER)


class CombinedLines:
    """The format of Apache and NGINX that goes by this name; ``HTTP/2`` is written ``HTTP/2.0``, as they do."""

    def __init__(self) -> None:
        self._stamp = Stamp(clf_time)
        self._referers = Values(escape_value)
        self._agents = Values(escape_value)

    def note(self, connection: Hosting, exchange: Exchange, status: int, ended: float) -> _Common:
        """Take what the line needs."""
        request = exchange.request
        client = exchange.client or connection.client_text
        return client, request.method, request.target, request.http_version, status, exchange.sent, ended, request

    def lines(self, notes: list[_Common], offset: float) -> str:
        """Render lines, each with its newline."""
        stamp, hosts, methods, referers, agents = self._stamp, HOSTS, METHODS, self._referers, self._agents
        lines = []
        for note, target in zip(notes, escape_targets([note[2] for note in notes]), strict=True):
            client, method, _, version, status, sent, ended, request = note
            referer = agent = "-"
            for name, value in request.fields:
                if name == b"user-agent":
                    agent = agents[value] or "-"
                elif name == b"referer":
                    referer = referers[value] or "-"
            lines.append(
                f'{hosts[client]} - - [{stamp(int(ended + offset))}] "{methods[method]} {target} '
                f'HTTP/{"2.0" if version == "2" else VERSIONS[version]}" {status} {sent or "-"} '
                f'"{referer}" "{agent}"\n'
            )
        return "".join(lines)


class FormattedLines:
    """Lines of a format with fields in braces. Raises ValueError, with a sentence, for what is no format."""

    def __init__(self, text: str) -> None:
        parts = parse_format(text)
        self._template = "".join(literal.replace("%", "%%") + ("%s" if field else "") for literal, field in parts)
        fields = [field for _, field in parts if field]
        self._getters = [getter_of(field) for field in fields]
        self._with_headers = any(map(needs_headers, fields))

    note = staticmethod(take_note)

    def lines(self, notes: list[Note], offset: float) -> str:
        """Render lines, each with its newline."""
        return "".join([self._line(Facts(note, offset)) for note in notes])

    def _line(self, facts: Facts) -> str:
        if self._with_headers:
            facts.headers = dict(facts.request.fields)
        line = self._template % tuple([get(facts) or "-" for get in self._getters])
        return line + "\n" if len(line) < LONGEST_LINE else line[: LONGEST_LINE - 4] + "...\n"
