"""The places in an NGINX configuration where requests are passed to servers, with what is in force there.

NGINX's inheritance: a directive counts from the nearest level that has it. ``proxy_set_header`` is a list, and one
line of it on an inner level replaces all lines of the outer ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from keepserve.balancer.facts import Fact, Place
from keepserve.balancer.readers.nginx_tree import Directive
from keepserve.balancer.readers.nginx_values import (
    GRPC_DOCS,
    PROXY_DOCS,
    UPSTREAM_DOCS,
    count_of,
    seconds,
    seconds_of,
)

_PASSES = ("proxy_pass", "grpc_pass")
_LEVELS = ("server", "location", "if", "limit_except")

Maps = dict[str, Directive]


@dataclass(frozen=True, slots=True)
class Passing:
    """One ``proxy_pass`` or ``grpc_pass``: where it goes, and the blocks around it, outermost first."""

    directive: Directive
    target: str
    secure: bool
    levels: tuple[Directive, ...]
    maps: Maps

    @property
    def place(self) -> Place:
        return self.directive.place

    @property
    def words(self) -> str:
        return self.directive.words

    @property
    def _grpc(self) -> bool:
        return self.directive.name == "grpc_pass"

    def _in_force(self, name: str) -> Directive | None:
        for level in reversed(self.levels):
            written = list(level.all(name))
            if written:
                return written[-1]
        return None

    def protocol(self, modern: bool) -> Fact[str]:
        """The HTTP version; ``modern``: NGINX 1.29.7 or newer, whose default is 1.1."""
        if self._grpc:
            return Fact("h2", self.words, self.place)
        written = self._in_force("proxy_http_version")
        source = PROXY_DOCS + "#proxy_http_version"
        if written is None:
            version = "1.1" if modern else "1.0"
            return Fact(f"http/{version}", f"proxy_http_version {version}", None, source)
        value = written.args[0]
        # Since 1.29.4 it takes 2 as well.
        return Fact("h2" if value in ("2", "2.0") else f"http/{value}", written.words, written.place)

    def closes(self, modern: bool) -> Fact[bool] | None:
        """What tells the server to close after the response, if anything does: the Connection field."""
        cure = 'proxy_set_header Connection "";'
        for level in reversed(self.levels):
            written = list(level.all("proxy_set_header"))
            if not written:
                continue
            for header in written:
                if header.args[0].lower() == "connection":
                    value = self._plain(header.args[1])
                    closing = "close" in {word.strip().lower() for word in value.split(",")}
                    return Fact(False, header.words, header.place, remedy=cure) if closing else None
            # This level's lines replace all outer ones: a Connection field out there is not sent from here.
            return self._closes_by_default(modern, cure, written[0].place)
        return self._closes_by_default(modern, cure, None)

    def _closes_by_default(self, modern: bool, cure: str, replaced_at: Place | None) -> Fact[bool] | None:
        if modern:
            return None
        words = "proxy_set_header Connection close"
        outer = any(self._clears(level) for level in self.levels)
        if replaced_at is not None and outer:
            words += f" (the lines at {replaced_at} replace all outer ones)"
            return Fact(False, words, replaced_at, PROXY_DOCS + "#proxy_set_header", cure)
        return Fact(False, words, None, PROXY_DOCS + "#proxy_set_header", cure)

    @staticmethod
    def _clears(level: Directive) -> bool:
        return any(one.args[0].lower() == "connection" for one in level.all("proxy_set_header"))

    def _plain(self, value: str) -> str:
        """A field's value for a request that asks for no upgrade: what a ``map`` makes of an empty field."""
        chosen = self.maps.get(value)
        if chosen is None or chosen.args[0] != "$http_upgrade":
            return value
        entries = {one.name: one.args[0] for one in chosen.block or () if one.args}
        return entries.get("", entries.get("default", ""))

    @property
    def tls(self) -> Fact[bool]:
        return Fact(self.secure, self.words, self.place)

    @property
    def response_timeout(self) -> Fact[float]:
        name = "grpc_read_timeout" if self._grpc else "proxy_read_timeout"
        written = self._in_force(name)
        if written is None:
            return Fact(60.0, f"{name} 60s", None, f"{self._docs}#{name}")
        return Fact(seconds(written), written.words, written.place)

    @property
    def retries_post(self) -> Fact[bool]:
        name = "grpc_next_upstream" if self._grpc else "proxy_next_upstream"
        written = self._in_force(name)
        if written is None:
            return Fact(False, f"{name} error timeout", None, f"{self._docs}#{name}")
        repeated = "non_idempotent" in written.args and "off" not in written.args
        kept = " ".join(arg for arg in written.args if arg != "non_idempotent")
        return Fact(repeated, written.words, written.place, remedy=f"{name} {kept or 'error timeout'};")

    @property
    def _docs(self) -> str:
        return GRPC_DOCS if self._grpc else PROXY_DOCS

    def _checked(self, key: str, default: str) -> tuple[str, Directive] | None:
        # Active checks are NGINX Plus's; without them there is only what happens to requests.
        written = next(self.levels[-1].all("health_check"), None)
        if written is None:
            return None
        given = dict(arg.partition("=")[::2] for arg in written.args)
        return given.get(key, default), written

    @property
    def health_path(self) -> Fact[str] | None:
        found = self._checked("uri", "/")
        return Fact(found[0], found[1].words, found[1].place, UPSTREAM_DOCS) if found else None

    @property
    def health_interval(self) -> Fact[float] | None:
        found = self._checked("interval", "5s")
        return Fact(seconds_of(found[0], found[1].place), found[1].words, found[1].place) if found else None

    @property
    def health_threshold(self) -> Fact[int] | None:
        found = self._checked("fails", "1")
        return Fact(count_of(found[0], found[1].place), found[1].words, found[1].place) if found else None


def passings(http: Directive) -> tuple[list[Passing], list[str]]:
    """Every place in an ``http`` block that passes requests on, and remarks about those that cannot be followed."""
    maps = {one.args[1]: one for one in http.all("map") if len(one.args) == 2}
    found: list[Passing] = []
    notes: list[str] = []
    _walk((http,), maps, found, notes)
    return found, notes


def _walk(levels: tuple[Directive, ...], maps: Maps, found: list[Passing], notes: list[str]) -> None:
    for directive in levels[-1].block or ():
        if directive.name in _PASSES:
            target = _target(directive.args[0])
            if target is None:
                notes.append(f"{directive.words} ({directive.place}) names its servers by a variable: not followed.")
            else:
                name, secure = target
                found.append(Passing(directive, name, secure, levels, maps))
        elif directive.name in _LEVELS:
            _walk((*levels, directive), maps, found, notes)


def _target(url: str) -> tuple[str, bool] | None:
    """The group or address a URL names, and whether TLS is spoken to it; None for a variable."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "grpc", url  # grpc_pass takes an address alone
    if rest.startswith("unix:"):
        name = "unix:" + rest.removeprefix("unix:").partition(":")[0]
    else:
        name = rest.partition("/")[0].partition("?")[0]
    if "$" in scheme or "$" in name:
        return None
    return name, scheme in ("https", "grpcs")
