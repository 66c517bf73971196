"""Access lines as JSON: one object per line."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from keepserve.telemetry.formats import MAX_HOST, METHODS, Note, Stamp, forwarded_for, iso_time, take_note
from keepserve.telemetry.lines import (
    LONGEST_LINE,
    MAX_VALUE,
    Values,
    Words,
    escape,
    escape_targets,
    escape_text,
    milliseconds,
)
from keepserve.telemetry.traces import LONGEST as LONGEST_TRACE
from keepserve.telemetry.traces import TRACES

if TYPE_CHECKING:
    pass

# Header fields that are looked for in each request, in one pass; their keys and how much is kept.
_HEADERS: dict[bytes, tuple[str, int]] = {
    **{name: (key, LONGEST_TRACE) for name, (key, _) in TRACES.items()},
    b"host": ("host", MAX_HOST),
    b"user-agent": ("user_agent", MAX_VALUE),
    b"referer": ("referer", MAX_VALUE),
}
_THOUSANDTHS = tuple(f"{number:03d}" for number in range(1000))


def _doubled(text: str) -> str:
    """What `escape` made, for a JSON string: its backslashes are all there is to escape."""
    return text.replace("\\", "\\\\") if "\\" in text else text


class _Words(Words):
    """Escaped twice."""

    def escaped(self, word: str) -> str:
        return _doubled(super().escaped(word))


class _Versions(Words):
    """The members that tell the protocol."""

    def escaped(self, word: str) -> str:
        version = _doubled(escape_text(word, 16))
        return f'"http_version":"{version}","protocol":"HTTP/{version}"'


class JSONLines:
    """One JSON object per line; ``time`` is RFC 3339, UTC, milliseconds.

    Durations are milliseconds, ``bytes`` is the body as sent. Strings are escaped as in the text line, before JSON's
    own escaping: undecoded bytes have no other faithful JSON string. What is not there is left out; and what would
    make the line longer than a pipe takes in one piece, which takes a client that sends kilobytes of nonsense.
    """

    def __init__(self) -> None:
        self._stamp = Stamp(iso_time)
        self._head = f'"level":"info","logger":"keepserve.access","pid":{os.getpid()}'
        self._clients = _Words()
        self._versions = _Versions()
        # Values that each request has anew, as ids are, are not remembered.
        self._members = {
            name: _member(key, limit) if name in TRACES else Values(_member(key, limit)).__getitem__
            for name, (key, limit) in _HEADERS.items()
        }

    note = staticmethod(take_note)

    def lines(self, notes: list[Note], offset: float) -> str:
        """Render lines, each with its newline."""
        lines = []
        stamp, head, clients, versions = self._stamp, self._head, self._clients, self._versions
        targets = escape_targets([note[1].request.target for note in notes])
        for note, target in zip(notes, targets, strict=True):
            connection, exchange, status, ended, requests, _, _ = note
            request = exchange.request
            wall = ended + offset
            second = int(wall)
            took = milliseconds(ended - exchange.started)
            begun = exchange.begun_at
            client = exchange.client or connection.client_text
            scheme = exchange.scheme or connection.scheme
            version = versions[request.http_version]
            if exchange.socket_accepted:
                version = f'{version.rpartition(":")[0]}:"websocket"'
            line = (
                f'{{"time":"{stamp(second)}{_THOUSANDTHS[int((wall - second) * 1000)]}Z",{head},'
                f'"client":"{clients[client]}","method":"{_doubled(METHODS[request.method])}",'
                f'"target":"{_doubled(target)}",{version},"status":{status},"duration_ms":{took},'
                f'"first_byte_ms":{took if begun is None else milliseconds(begun - exchange.started)},'
                f'"bytes":{exchange.sent},"connection_requests":{requests},"connection_id":{connection.number},'
                f'"scheme":"{scheme}"'
            )
            rest = self._rest(note, client)
            room = LONGEST_LINE - len("}\n") - len(line)
            if len(rest) > room:
                rest = _cut(rest, room)
            lines.append(f"{line}{rest}}}\n")
        return "".join(lines)

    def _rest(self, note: Note, client: str) -> str:
        """The members that are not in every line, the more useful first."""
        connection, exchange, _, _, _, reason, tls = note
        request = exchange.request
        rest = f',"stream":{request.stream}' if request.http_version == "2" else ""
        if reason is not None:
            rest += f',"close_reason":"{reason.value}"'
        if tls is not None:
            rest += f',"tls_version":"{_doubled(escape_text(tls, 32))}"'
        if source := connection.proxy_source:
            rest += f',"proxy_source":"{self._clients[source]}"'
        if client != (peer := connection.peer_text):
            rest += f',"peer":"{self._clients[peer]}"'
        headers = dict(request.fields)  # of what came twice, the last: no member may be there twice
        for name, member in self._members.items():
            value = headers.get(name)
            if value is not None:
                rest += member(value)
        if b"x-forwarded-for" in headers or b"forwarded" in headers:
            rest += f',"forwarded_for":"{_doubled(forwarded_for(request.fields))}"'
        return rest


def _member(key: str, limit: int) -> Callable[[bytes], str]:
    """Return what makes the member of a value as it was sent."""
    return lambda value: f',"{key}":"{_doubled(escape(value, limit))}"'


def _cut(rest: str, room: int) -> str:
    """So many members from the beginning as there is room for; in a line that nonsense has made long."""
    kept = ""
    for member in re.findall(r',"\w+":(?:\d+|"(?:[^"\\]|\\.)*")', rest):
        if len(kept) + len(member) > room:
            break
        kept += member
    return kept
