"""HAProxy's sections: which lines belong to which proxy, and what it inherits from ``defaults``.

Manual, section 4: a proxy takes what it does not say from the ``defaults`` it names with ``from``, otherwise from
the last one before it; a ``defaults`` may do so too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches

from keepserve.balancer.facts import Place, UnreadableError
from keepserve.balancer.readers.haproxy_words import Line

PROXIES = ("defaults", "frontend", "backend", "listen")
_OTHERS = (
    *("global", "peers", "mailers", "resolvers", "userlist", "cache", "program", "http-errors", "ring"),
    *("log-forward", "fcgi-app", "traces", "crt-store", "acme", "log-profile"),
)
SECTIONS = (*PROXIES, *_OTHERS)

_WORDS = """
    acl backlog balance bind capture clitcpka-cnt clitcpka-idle clitcpka-intvl compression cookie declare
    default-server default_backend description disabled dispatch email-alert enabled errorfile errorfiles errorloc
    errorloc302 errorloc303 error-log-format external-check filter force-be-switch force-persist fullconn guid
    hash-balance-factor hash-key hash-preserve-affinity hash-type http-after-response http-check http-error
    http-request http-response http-reuse http-send-name-header id ignore-persist load-server-state-from-file log
    log-format log-format-sd log-steps log-tag max-keep-alive-queue max-session-srv-conns maxconn mode monitor
    monitor-uri no option persist quic-initial rate-limit redirect retries retry-on server server-state-file-name
    server-template source srvtcpka-cnt srvtcpka-idle srvtcpka-intvl stats stick stick-table tcp-check tcp-request
    tcp-response timeout transparent unique-id-format unique-id-header use-fcgi-app use-server use_backend
"""
_KEYWORDS = frozenset(_WORDS.split())


@dataclass(slots=True)
class Section:
    """One proxy or ``defaults``. ``parent`` is the ``defaults`` it inherits from."""

    kind: str
    name: str
    place: Place
    parent: Section | None = None
    lines: list[Line] = field(default_factory=list)

    def last(self, *words: str) -> Line | None:
        """The line that begins with these words and is in force: the last of its own, else the parent's."""
        size = len(words)
        for line in reversed(self.lines):
            if line.words[:size] == words:
                return line
        return self.parent.last(*words) if self.parent is not None else None

    def option(self, name: str) -> Line | None:
        """The line that turns an option on, or None while it is off: ``no option`` undoes what is inherited."""
        for line in reversed(self.lines):
            if line.words[:2] == ("option", name):
                return line
            if line.words[:3] == ("no", "option", name):
                return None
        return self.parent.option(name) if self.parent is not None else None

    def all(self, *words: str) -> Iterator[Line]:
        """Every line that begins with these words, the parent's first."""
        if self.parent is not None:
            yield from self.parent.all(*words)
        yield from (line for line in self.lines if line.words[: len(words)] == words)


def sections_of(path: str, lines: Iterable[Line]) -> tuple[list[Section], list[str]]:
    """The proxies in order, without ``defaults``, and remarks about lines that are not understood.

    Raises UnreadableError for what HAProxy would not start with, and for conditions: which side holds is not known.
    """
    proxies: list[Section] = []
    defaults: dict[str, Section] = {}
    latest: Section | None = None
    section: Section | None = None
    remarks: list[str] = []
    begun = False
    for line in lines:
        word = line.words[0]
        if word in (".if", ".elif", ".else", ".endif"):
            raise UnreadableError(
                f"{line.place}: which lines count depends on a condition ({line}), and what it yields is not known "
                "here. Check a copy without it."
            )
        if word.startswith("."):
            continue  # .notice and its sisters print something
        if word in SECTIONS:
            begun, section = True, None
            if word in PROXIES:
                section = _opened(line, latest, defaults)
                if word == "defaults":
                    latest = section
                    defaults[section.name] = section
                else:
                    proxies.append(section)
        elif not begun:
            raise UnreadableError(f'{line.place}: "{word}" stands outside of any section; a file begins with one.')
        elif section is not None:
            _note_unknown(line, remarks)
            section.lines.append(line)
        elif near := get_close_matches(word, PROXIES, 1, cutoff=0.8):
            raise UnreadableError(f'{line.place}: there is no "{word}"; did you mean "{near[0]}"?')
    if not begun:
        raise UnreadableError(f"{path}: there is no section in this file, only comments.")
    return proxies, remarks


def _opened(line: Line, latest: Section | None, defaults: dict[str, Section]) -> Section:
    kind, *rest = line.words
    parent = latest if kind != "defaults" else None
    if "from" in rest:
        index = rest.index("from")
        wanted = rest[index + 1] if index + 1 < len(rest) else ""
        if wanted not in defaults:
            raise UnreadableError(f'{line.place}: there is no "defaults {wanted}" before this line.')
        parent = defaults[wanted]
        rest = rest[:index]
    if kind != "defaults" and not rest:
        raise UnreadableError(f'{line.place}: "{kind}" needs a name.')
    return Section(kind, rest[0] if rest else "", line.place, parent)


def _note_unknown(line: Line, remarks: list[str]) -> None:
    word = line.words[0]
    if word in _KEYWORDS:
        return
    near = get_close_matches(word, (*_KEYWORDS, *PROXIES), 1, cutoff=0.8)
    if near:
        raise UnreadableError(f'{line.place}: there is no keyword "{word}"; did you mean "{near[0]}"?')
    remarks.append(f'{line.place}: the keyword "{word}" is not known and not taken into account.')
