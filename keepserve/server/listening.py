"""Listening sockets: from addresses as people write them to sockets that are bound.

They are bound by the supervisor before it forks, but nobody listens until a worker is ready for requests:
a health check that only connects must not succeed before the application has started.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from keepserve.config.problems import ConfigError, Problem
from keepserve.config.settings import Settings
from keepserve.server.unixlock import acquire_lock, remove_if_same

KEEPALIVE_IDLE = 60
"""Seconds without traffic before TCP probes the peer: below the silent drops of NLB (350 s) and Azure (240 s)."""

_PORT_MAX = 65535
_TCP_KEEPIDLE = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))
"""macOS calls it TCP_KEEPALIVE."""

_HOST_PORT = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^:\[\]/@\s]*)):(?P<port>[0-9]{1,5})", re.ASCII)
_EXPECTED = "write host:port, [::1]:port, unix:path or fd://3"


class BindError(Exception):
    """An address cannot be listened on. ``str()`` is one sentence that names it and what to do."""


@dataclass(frozen=True, slots=True)
class BindAddress:
    """One address to listen on; ``kind`` says which of the other fields count.

    ``host`` is a name or a literal without brackets, empty for every interface. ``str()`` is the form that
    `parse_bind` reads.
    """

    kind: Literal["tcp", "unix", "fd"]
    host: str = ""
    port: int = 0
    path: str = ""
    fd: int = -1

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix:{self.path}"
        if self.kind == "fd":
            return f"fd://{self.fd}"
        return _host_port(self.host, self.port)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """What one ``bind(2)`` takes. A name may stand for several; ``spare`` tells that one less is no failure."""

    family: socket.AddressFamily
    host: str
    port: int
    scope: int
    spare: bool
    group: int

    @property
    def sockaddr(self) -> tuple[str, int] | tuple[str, int, int, int]:
        if self.family == socket.AF_INET6:
            return (self.host, self.port, 0, self.scope)
        return (self.host, self.port)


class UnixListener(socket.socket):
    """A Unix socket that removes its path when the process that bound it closes it.

    Between two servers started at once, "nobody listens there" is no proof that a path is stale, since we
    bind long before we listen; a lock file beside it (``path.lock``) is.
    """

    _path = ""
    _identity: tuple[int, int] | None = None
    _owner = -1
    _lock = -1

    def claim(self, path: str, permissions: int) -> None:
        """Bind to ``path`` with file mode ``permissions``; a stale socket of an earlier server is replaced.

        Raises BindError when another process has the path or it is something else than a socket, OSError
        when the system refuses.
        """
        path = os.path.abspath(path)
        self._lock = acquire_lock(path + ".lock")
        if self._lock < 0:
            raise BindError(f"unix:{path} is taken: another keepserve holds {path}.lock; {_unix_cure(path)}.")
        self._owner, self._path = os.getpid(), path
        _remove_stale(path)
        # Nobody may connect in the moment between bind and chmod.
        umask = os.umask(0o177)
        try:
            self.bind(path)
        finally:
            os.umask(umask)
        status = os.lstat(path)
        self._identity = (status.st_dev, status.st_ino)
        os.chmod(path, permissions)

    def close(self) -> None:
        """Close; in the process that bound it, also remove the path and the lock file, if they are still ours."""
        if self._lock >= 0:
            lock, self._lock = self._lock, -1
            if self._owner == os.getpid():
                if self._identity is not None:
                    remove_if_same(self._path, self._identity)
                status = os.fstat(lock)
                remove_if_same(self._path + ".lock", (status.st_dev, status.st_ino))
            os.close(lock)
        super().close()


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


def addresses(settings: Settings) -> list[BindAddress]:
    """The addresses these settings ask for: ``bind``, ``uds`` and ``fd`` together, else ``host`` and ``port``.

    Raises `ConfigError` with every address that cannot be read.
    """
    found: list[BindAddress] = []
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


def bind_sockets(settings: Settings) -> list[socket.socket]:
    """Bind every address of ``settings``; none of the sockets listens yet (inherited ones may).

    TCP sockets have SO_REUSEADDR and SO_KEEPALIVE, which accepted connections inherit. ``[::]`` takes IPv4
    as well, unless an IPv4 address with the same port is asked for too. Close them to release the addresses
    and remove Unix paths. Raises `BindError`, or `ConfigError` from `addresses`; nothing stays bound then.
    """
    wanted = addresses(settings)
    with contextlib.ExitStack() as undo:
        sockets: list[socket.socket] = []

        def keep(sock: socket.socket) -> None:
            undo.callback(sock.close)
            sockets.append(sock)

        for address in wanted:
            if address.kind == "unix":
                keep(_bind_unix(address.path, settings.uds_permissions))
            elif address.kind == "fd":
                keep(_take_over(address.fd))
        for sock in _bind_tcp([address for address in wanted if address.kind == "tcp"]):
            keep(sock)
        undo.pop_all()
    return sockets


def reserve(sockets: Iterable[socket.socket], *, reserved: bool) -> None:
    """Keep other servers from binding the same TCP ports while nobody listens yet; call with False to listen.

    On Linux two sockets with SO_REUSEADDR can be bound to one port until one of them listens; a second
    server would only notice after its application has started. Without the option, binding fails at once.
    It has to be back before ``listen``: connections inherit it, and those left in TIME_WAIT would otherwise
    keep the next server from binding.
    """
    if sys.platform != "linux":
        return
    for sock in sockets:
        inet = sock.family in (socket.AF_INET, socket.AF_INET6)
        if inet and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(not reserved))


def display(sock: socket.socket, *, tls: bool = False) -> str:
    """How a person would write this socket's address: ``http://127.0.0.1:8000``, ``unix:/run/app.sock``."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        # Abstract names begin with a zero byte, written @ as everywhere.
        path = os.fsdecode(name)
        return f"unix:{'@' + path[1:] if path.startswith(chr(0)) else path}"
    return f"{'https' if tls else 'http'}://{_host_port(name[0], name[1])}"


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bad_bind(text: str, expected: str) -> ConfigError:
    return ConfigError(Problem(f'"{text}" is not an address to listen on: {expected}.', ("bind",)))


def _bind_tcp(wanted: list[BindAddress]) -> Iterator[socket.socket]:
    endpoints = [one for group, address in enumerate(wanted) for one in _resolve(address, group)]
    ports: dict[int, int] = {}  # port 0: the further addresses of one name share what the first was given
    bound: set[int] = set()
    failures: dict[int, BindError] = {}
    for endpoint in endpoints:
        port = endpoint.port or ports.get(endpoint.group, 0)
        try:
            sock = _bind_endpoint(endpoint, port, endpoints)
        except OSError as error:
            failure = _tcp_failure(endpoint, port, error)
            if not endpoint.spare or error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise failure from None
            failures.setdefault(endpoint.group, failure)
        else:
            ports.setdefault(endpoint.group, sock.getsockname()[1])
            bound.add(endpoint.group)
            yield sock
    for group, failure in failures.items():
        if group not in bound:
            raise failure


def _resolve(address: BindAddress, group: int) -> list[_Endpoint]:
    try:
        found = socket.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BindError(
            f'The host "{address.host}" of {address} cannot be resolved ({reason}): '
            "write a name or an address of this machine, or 0.0.0.0 for all of them."
        ) from None
    unique = dict.fromkeys((family, sockaddr) for family, _, _, _, sockaddr in found)
    return [
        _Endpoint(
            family=family,
            host=str(sockaddr[0]),
            port=address.port,
            scope=int(sockaddr[3]) if len(sockaddr) == 4 else 0,
            spare=len(unique) > 1,
            group=group,
        )
        for family, sockaddr in unique
    ]


def _bind_endpoint(endpoint: _Endpoint, port: int, everything: list[_Endpoint]) -> socket.socket:
    sock = socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if _TCP_KEEPIDLE is not None:
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_KEEPIDLE, KEEPALIVE_IDLE)
        if endpoint.family == socket.AF_INET6:
            # The system's default (net.ipv6.bindv6only) must not decide whether IPv4 is served.
            beside = any(one.family == socket.AF_INET and one.port == endpoint.port for one in everything)
            both = endpoint.host == "::" and not beside
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not both))
        sock.bind((endpoint.host, port, *endpoint.sockaddr[2:]))
    except BaseException:
        sock.close()
        raise
    return sock


def _tcp_failure(endpoint: _Endpoint, port: int, error: OSError) -> BindError:
    where = _host_port(endpoint.host, port)
    if error.errno == errno.EADDRINUSE:
        return BindError(taken(where, port))
    if error.errno in (errno.EACCES, errno.EPERM):
        cure = "a port below 1024 needs root or CAP_NET_BIND_SERVICE; choose a higher --port or --bind"
        return BindError(f"{where} is forbidden to this user: {cure}.")
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        cure = "choose one that it has, or 0.0.0.0 for all"
        return BindError(f"{where} is not an address of this machine: {cure} (--host or --bind).")
    return BindError(f"{where} cannot be bound: {error.strerror or error}.")


def taken(where: str, port: int) -> str:
    """The sentence for an address in use: who to look for, and what to do."""
    finder = f"lsof -nP -iTCP:{port} -sTCP:LISTEN" if sys.platform == "darwin" else f"ss -ltnp sport = :{port}"
    return f'{where} is taken: "{finder}" shows by whom; stop that process, or choose another --port or --bind.'


def _take_over(fd: int) -> socket.socket:
    """Use an inherited socket as it is: its options, its backlog, and whether it already listens."""
    where = f"fd://{fd}"
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        found = "is not open" if error.errno == errno.EBADF else "is not a socket"
        raise BindError(
            f"{where} {found}: pass a bound stream socket as file descriptor {fd}, "
            "as systemd's socket activation does, or use --bind with an address."
        ) from None
    problem = ""
    if sock.type != socket.SOCK_STREAM:
        problem = f"is a socket of type {sock.type.name}, not SOCK_STREAM"
    elif sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        problem = f"is a socket of family {sock.family!s}, not IPv4, IPv6 or Unix"
    elif _connected(sock):
        problem = "is a connection, not a listening socket"
    if problem:
        sock.detach()  # not ours to close
        raise BindError(f"{where} {problem}: pass a bound TCP or Unix stream socket.")
    # Inherited descriptors outlive exec; the application's subprocesses must not hold the port.
    sock.set_inheritable(False)
    return sock


def _connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _bind_unix(path: str, permissions: int) -> socket.socket:
    sock = UnixListener(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.claim(path, permissions)
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            raise BindError(
                f"unix:{path} cannot be bound: {error.strerror or error}; "
                "choose a short path in a directory that exists and that this user may write to."
            ) from None
        raise
    return sock


def _remove_stale(path: str) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise BindError(f"unix:{path} exists and is not a socket: remove it, or choose another --uds or --bind.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            remove_if_same(path, (status.st_dev, status.st_ino))
            return
        except FileNotFoundError:
            return
        except OSError:
            pass  # a full backlog, another type of socket, no permission: somebody's, not ours to remove
    raise BindError(f"unix:{path} is taken: another process listens there; {_unix_cure(path)}.")


def _unix_cure(path: str) -> str:
    finder = "lsof -U" if sys.platform == "darwin" else "ss -lxp"
    return f'"{finder}" shows which; stop it, or choose another --uds or --bind'
