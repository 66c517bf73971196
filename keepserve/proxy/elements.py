"""The ``Forwarded`` field (RFC 7239 §4), read from its right end.

From the right, because the left end is what a client may have sent, and must not change how the rest is read: an
open quote would swallow what the proxy has appended. So the text is turned round and read by one expression, which
looks at each character once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
# An unquoted value may hold what only a quoted one should (§4): ports and IPv6 addresses are often left unquoted.
_PAIR = rf'(?:"([^"\\]*)"|((?:{_TOKEN}|[:\[\]])+))=({_TOKEN}+)'
_NEXT_PAIR = re.compile(rf"[ \t]*{_PAIR}[ \t]*")


def elements_from_right(value: str) -> Iterator[dict[str, str] | None]:
    """The elements of the field, the last one first: parameters by their lower-case names.

    ``None`` stands for what cannot be read, and is the last: an empty element, one with a parameter twice, or with a
    backslash, which no address, scheme or host needs.
    """
    text = value[::-1]
    at = 0
    while True:
        element: dict[str, str] = {}
        while True:
            match = _NEXT_PAIR.match(text, at)
            if match is None:
                yield None
                return
            name = match[3][::-1].lower()
            if name in element:
                yield None
                return
            element[name] = (match[1] if match[1] is not None else match[2])[::-1]
            at = match.end()
            if text[at : at + 1] != ";":
                break
            at += 1
        end = at == len(text)
        if not end and text[at] != ",":
            yield None
            return
        yield element
        if end:
            return
        at += 1
