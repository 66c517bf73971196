"""The parameters of HAProxy's ``server`` lines (manual, section 5.2), and of ``default-server`` before them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from keepserve.balancer.facts import Place, UnreadableError
from keepserve.balancer.readers.haproxy_sections import Section
from keepserve.balancer.readers.haproxy_words import Line

# Parameters that are followed by a value: without this list the value could be taken for a parameter.
_WORDS = """
    addr agent-addr agent-inter agent-port agent-send alpn ca-file check-alpn check-pool-conn-name check-proto
    check-sni ciphers ciphersuites client-sigalgs cookie crl-file crt curves downinter error-limit fall fastinter
    guid hash-key id idle-ping init-addr init-state inter log-bufsize log-proto maxconn maxqueue max-reuse minconn
    namespace npn observe on-error on-marked-down on-marked-up pool-conn-name pool-low-conn pool-max-conn
    pool-purge-delay port proto proxy-v2-options redir resolve-net resolve-opts resolve-prefer resolvers rise shard
    sigalgs slowstart sni socks4 source ssl-max-ver ssl-min-ver tcp-md5sig tcp-ut track usesrc verify verifyhost
    weight ws
"""
_VALUED = frozenset(_WORDS.split())


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter in force, as written: ``words`` with its value, and the line it is from."""

    words: str
    value: str
    place: Place


@dataclass(frozen=True, slots=True)
class Server:
    """One ``server`` or ``server-template``."""

    name: str
    place: Place
    parameters: dict[str, Parameter]

    def get(self, name: str) -> Parameter | None:
        """A parameter in force, or None."""
        return self.parameters.get(name)


def servers_of(section: Section) -> Iterator[Server]:
    """The servers of a backend or listen section, in order. Raises UnreadableError."""
    common: dict[str, Parameter] = {}
    for line in _lines(section):
        keyword, *rest = line.words
        if keyword == "default-server":
            _take(rest, line, common)
            continue
        skipped = 2 if keyword == "server" else 3
        if len(rest) < skipped:
            raise UnreadableError(f'{line.place}: "{keyword}" needs a name and an address: {line}')
        parameters = dict(common)
        _take(rest[skipped:], line, parameters)
        yield Server(rest[0], line.place, parameters)


def _lines(section: Section) -> Iterator[Line]:
    """Inherited ``default-server`` lines first, then our own lines of both kinds in their order."""
    if section.parent is not None:
        yield from section.parent.all("default-server")
    yield from (one for one in section.lines if one.words[0] in ("server", "server-template", "default-server"))


def _take(words: list[str], line: Line, into: dict[str, Parameter]) -> None:
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word in _VALUED:
            if position == len(words):
                raise UnreadableError(f'{line.place}: "{word}" at the end of this line has no value.')
            into[word] = Parameter(f"{word} {words[position]}", words[position], line.place)
            position += 1
        elif word.startswith("no-"):
            into.pop(word.removeprefix("no-"), None)
        else:
            into[word] = Parameter(word, "", line.place)
