"""Addresses to listen on, as people write them and as a service manager passes them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from keepserve.config.problems import ConfigError, Problem
from keepserve.config.settings import Settings
from keepserve.server.activation import Passed

_PORT_MAX = 65535
_HOST_PORT = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^:\[\]/@\s]*)):(?P<port>[0-9]{1,5})", re.ASCII)
_EXPECTED = "write host:port, [::1]:port, unix:path or fd://3"


class BindError(Exception):
    """An address cannot be listened on. ``str()`` is one sentence that names it and what to do."""


@dataclass(frozen=True, slots=True)
class BindAddress:
    """One address to listen on; ``kind`` says which of the other fields count.

    ``host`` is a name or a literal without brackets, empty for every interface. ``str()`` is the form that
    `parse_bind` reads. ``passed`` is the name under which a service manager passed the descriptor, ``option`` the
    one by which to choose another address, where that is not one of those for the server's own.
    """

    kind: Literal["tcp", "unix", "fd"]
    host: str = ""
    port: int = 0
    path: str = ""
    fd: int = -1
    passed: str | None = field(default=None, compare=False)
    option: str = field(default="", compare=False)

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix:{self.path}"
        if self.kind == "fd":
            return f"fd://{self.fd}"
        return host_port(self.host, self.port)


def parse_bind(text: str) -> BindAddress:
    """Read ``host:port``, ``[::1]:port``, ``:port`` (every interface), ``unix:path`` or ``fd://3``.

    Raises `ConfigError` with a sentence.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        # unix:///run/app.sock, as URLs have it.
        path = path.removeprefix("//") if path.startswith("///") else path
        if path and "\0" not in path:
            return BindAddress("unix", path=path)
    elif text.startswith("fd://"):
        number = text.removeprefix("fd://")
        if number.isascii() and number.isdigit() and len(number) < 10:
            return BindAddress("fd", fd=int(number))
    elif match := _HOST_PORT.fullmatch(text):
        if (port := int(match["port"])) > _PORT_MAX:
            raise _bad_bind(text, f"a port is at most {_PORT_MAX}")
        return BindAddress("tcp", host=match["v6"] or match["host"] or "", port=port)
    elif text.count(":") > 1 and not {"[", "/"} & set(text):
        raise _bad_bind(text, "write an IPv6 address in brackets, [::1]:8000")
    raise _bad_bind(text, _EXPECTED)


def addresses(settings: Settings, passed: Sequence[Passed] = ()) -> list[BindAddress]:
    """The addresses to listen on, each once: what is ``passed``, ``bind``, ``uds`` and ``fd`` together.

    Without any of them it is ``host`` and ``port``. Raises `ConfigError` with every address that cannot be read.
    """
    found = [BindAddress("fd", fd=one.fd, passed=one.name) for one in passed]
    problems: list[Problem] = []
    for text in settings.bind:
        try:
            found.append(parse_bind(text))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    if settings.uds is not None:
        found.append(BindAddress("unix", path=settings.uds))
    if settings.fd is not None:
        found.append(BindAddress("fd", fd=settings.fd))
    if not found:
        host = settings.host.strip()
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        found.append(BindAddress("tcp", host=host, port=settings.port))
    return list(dict.fromkeys(found))


def admin_address(settings: Settings) -> BindAddress | None:
    """Where the server is to be watched (``admin``); None: nowhere. ``:9090`` is the loopback address.

    Raises `ConfigError` when it cannot be read, or when other machines could reach it and nobody has allowed that.
    """
    if not settings.admin:
        return None
    try:
        found = parse_bind(settings.admin)
    except ConfigError:
        found = None
    if found is None or found.kind == "fd":
        raise ConfigError(
            Problem(
                f'"{settings.admin}" is not an address to watch the server at (--admin): write 127.0.0.1:9090, '
                "[::1]:9090, :9090 or unix:path.",
                ("admin",),
            )
        )
    found = replace(on_loopback(found), option="--admin")
    if found.kind == "tcp" and not (settings.admin_allow_public or is_loopback(found.host)):
        raise ConfigError(
            Problem(
                f"{found} can be reached by other machines (--admin), and whoever reaches it sees how the server is "
                f"used. Write 127.0.0.1:{found.port} or unix:path, or say --admin-allow-public.",
                ("admin", "admin_allow_public"),
            )
        )
    return found


def on_loopback(address: BindAddress) -> BindAddress:
    """The address, with this machine's own where none is named."""
    if address.kind == "tcp" and not address.host:
        return replace(address, host="127.0.0.1")
    return address


def is_loopback(host: str) -> bool:
    """Whether a name or address, without brackets, is this machine's own and nobody else reaches it."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_port(host: str, port: int) -> str:
    """``127.0.0.1:8000``, ``[::1]:8000``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bad_bind(text: str, expected: str) -> ConfigError:
    return ConfigError(Problem(f'"{text}" is not an address to listen on: {expected}.', ("bind",)))
