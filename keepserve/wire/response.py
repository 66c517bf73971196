"""What a response's head means, whichever protocol carries it: its status, its fields, its promised length.

Applications send the same few fields in most responses, so a field is judged and rendered once and
remembered. How it is rendered differs by protocol and is handed in; what it means does not.
"""

from __future__ import annotations

import email.utils
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from keepserve.wire.engine import ResponseError
from keepserve.wire.fields import FIELD_VALUE_FAULT, TOKEN, list_tokens

Field = tuple[bytes, bytes]
Part = TypeVar("Part")


def plain_status(status: object) -> int:
    """Return a status as a plain ``int``. Raises ``ResponseError`` when it is no whole number from 100 to 999."""
    if isinstance(status, int) and 100 <= status <= 999:
        return int(status)
    raise ResponseError(f"The response status must be a whole number from 100 to 999, not {status!r}.")


def final_status(status: int) -> int:
    """Return the status of a response, which is none of the interim ones. Raises ``ResponseError``."""
    if plain_status(status) < 200:
        raise ResponseError(f"A response's status must be final, 200 or above, not {status}.")
    return status


# What a response field means to us beyond being passed on; bits, so that a head's specials add up.
PLAIN, CONTENT_LENGTH, CONNECTION, DROPPED, DATE, SERVER, CLOSE = 0, 1, 2, 4, 8, 16, 32
OWN_DEFAULT = DATE | SERVER
"""The application sends a field itself that we would have sent."""

_SPECIAL = {
    b"content-length": CONTENT_LENGTH,
    b"connection": CONNECTION,
    # Framing and hop-by-hop fields are the server's to send (RFC 9110 §7.6.1, RFC 9112 §6, RFC 9113 §8.2.2).
    b"transfer-encoding": DROPPED,
    b"keep-alive": DROPPED,
    b"proxy-connection": DROPPED,
    b"date": DATE,
    b"server": SERVER,
}


def judge_field(name: bytes, value: bytes) -> tuple[int, int]:
    """Return what a response field means to us, and the number a Content-Length is (0 for others).

    Raises:
        ResponseError: the name is not a token (RFC 9110 §5.1), the value holds a control character
            (§5.5), or a Content-Length is no number.
    """
    if TOKEN.fullmatch(name) is None:
        raise ResponseError(f"The response field name {name!r} holds a byte that no field name may hold.")
    if FIELD_VALUE_FAULT.search(value) is not None:
        raise ResponseError(
            f"The value of the response field {name!r} holds a control character, which could split the response."
        )
    meaning = _SPECIAL.get(name.lower(), PLAIN)
    return meaning, parse_content_length(value) if meaning == CONTENT_LENGTH else 0


def collect_fields(
    fields: Iterable[Field],
    status: int,
    parts: list[Part],
    known: dict[Field, tuple[Part, int, int]],
    render: Callable[[bytes, bytes], tuple[Part, int, int]],
) -> tuple[int, int]:
    """Append the rendered fields to ``parts``; return the Content-Length (-1: none) and the meanings, added up.

    ``known`` are fields rendered before, ``render`` renders and remembers another one: what goes on the
    wire, its meaning and its number. Fields that are the server's to send are left out.

    Raises:
        ResponseError: a field cannot be sent.
    """
    length = -1
    special = 0
    before = len(parts)
    try:
        for field in fields:
            part, meaning, number = known.get(field) or render(*field)
            if meaning:
                if meaning == CONTENT_LENGTH:
                    if length not in (-1, number):
                        raise ResponseError(f"The response has two Content-Length fields, {length} and {number}.")
                    if length == number or status == 204:  # RFC 9110 §8.6: a 204 has none
                        continue
                    length = number
                elif meaning == CONNECTION:
                    if b"close" in list_tokens(field[1]):
                        special |= CLOSE
                    continue
                elif meaning == DROPPED:
                    continue
                special |= meaning
            parts.append(part)
    except (TypeError, ValueError, AttributeError):
        refuse_bad_fields(fields)  # which says what is wrong with them
        # Nothing: they are lists instead of tuples, then.
        del parts[before:]
        return collect_fields([(name, value) for name, value in fields], status, parts, known, render)
    return length, special


def refuse_bad_fields(fields: Iterable[Field]) -> None:
    """Raise ``ResponseError`` naming the first field that is no pair of bytes, or whose value could split a head."""
    for field in fields:
        try:
            name, value = field
        except (TypeError, ValueError):
            raise ResponseError(f"Response fields must be pairs of name and value, not {field!r}.") from None
        if not isinstance(name, bytes):
            raise ResponseError(f"A response field's name must be bytes, not {type(name).__name__}: {name!r}.")
        if not isinstance(value, bytes):
            kind = type(value).__name__
            raise ResponseError(f"The value of the response field {name!r} must be bytes, not {kind}: {value!r}.")
        judge_field(name, value)


def parse_content_length(value: bytes) -> int:
    """Return an application's Content-Length. Raises ``ResponseError`` when it is no plain number."""
    if type(value) is not bytes or not value.isdigit():
        raise ResponseError(f"The response's Content-Length must be a plain decimal number in bytes, not {value!r}.")
    return int(value)


def check_promise(length: int, size: int, complete: bool) -> None:
    """Hold a body's first ``size`` bytes to its Content-Length, before anything is sent. Raises ``ResponseError``."""
    if size != length and (complete or size > length):
        more = "" if complete else " and more"
        raise ResponseError(f"The response's Content-Length is {length}, but its body has {size} bytes{more}.")


def too_long(excess: int) -> ResponseError:
    """The error for a body that goes on past its Content-Length."""
    return ResponseError(f"The response's body is longer than its Content-Length, by {excess} bytes so far.")


def too_short(missing: int) -> ResponseError:
    """The error for a body that ended before its Content-Length."""
    return ResponseError(f"The response's body ended {missing} bytes short of its Content-Length.")


class CommonFields:
    """The fields every response of a worker carries, rendered once a second: Date, Server, the operator's own.

    ``extra`` are the operator's. A protocol's subclass renders them in ``_render``.
    """

    def __init__(self, *, server: bool = True, date: bool = True, extra: Sequence[Field] = ()) -> None:
        self.server: tuple[Field, ...] = ((b"server", b"keepserve"),) if server else ()
        self.date: tuple[Field, ...] = ()
        self.extra = tuple(extra)
        self._with_date = date
        self._second = -1
        self.refresh(0.0)

    def refresh(self, wall_time: float) -> None:
        """Render anew when the wall clock, in seconds since the epoch, shows another second."""
        second = int(wall_time)
        if second == self._second:
            return
        self._second = second
        if self._with_date:
            self.date = ((b"date", email.utils.formatdate(second, usegmt=True).encode()),)
        self._render()

    def _render(self) -> None:
        raise NotImplementedError
