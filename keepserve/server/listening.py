"""Listening sockets: from addresses to sockets that are bound.

They are bound by the supervisor before it forks, but nobody listens until a worker is ready for requests:
a health check that only connects must not succeed before the application has started. Sockets that a service
manager passes (`keepserve.server.activation`) listen already: what connects meanwhile waits in their queue.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
import sys
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass

from keepserve.config.settings import Settings
from keepserve.server.activation import take_passed
from keepserve.server.addresses import (
    BindAddress,
    BindError,
    addresses,
    admin_address,
    host_port,
    is_loopback,
)
from keepserve.server.deafness import TcpListener
from keepserve.server.unixlock import acquire_lock, remove_if_same

__all__ = ["KEEPALIVE_IDLE", "BindError", "UnixListener", "bind_admin", "bind_sockets", "display", "reserve", "taken"]

logger = logging.getLogger("keepserve")

KEEPALIVE_IDLE = 60
"""Seconds without traffic before TCP probes the peer: below the silent drops of NLB (350 s) and Azure (240 s)."""

ADMIN_BACKLOG = 64
"""Connections that may wait for the admin listener's process, which is not always there."""

_TCP_KEEPIDLE = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))
"""macOS calls it TCP_KEEPALIVE."""


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """What one ``bind(2)`` takes. A name may stand for several; ``spare`` tells that one less is no failure.

    ``option`` is as in `BindAddress`.
    """

    family: socket.AddressFamily
    host: str
    port: int
    scope: int
    spare: bool
    group: int
    option: str

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

    def claim(self, path: str, permissions: int, option: str = "") -> None:
        """Bind to ``path`` with file mode ``permissions``; a stale socket of an earlier server is replaced.

        ``option`` is the one to choose another path by, where that is not the usual one.

        Raises BindError when another process has the path or it is something else than a socket, OSError
        when the system refuses.
        """
        path = os.path.abspath(path)
        self._lock = acquire_lock(path + ".lock")
        if self._lock < 0:
            raise BindError(f"unix:{path} is taken: another keepserve holds {path}.lock; {_unix_cure(option)}.")
        self._owner, self._path = os.getpid(), path
        _remove_stale(path, option)
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


def bind_sockets(settings: Settings, environ: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """Bind every address of ``settings``; none of the sockets listens yet (inherited ones may).

    What ``environ`` says of sockets passed by a service manager is used and taken out (`take_passed`).

    TCP sockets have SO_REUSEADDR and SO_KEEPALIVE, which accepted connections inherit. ``[::]`` takes IPv4
    as well, unless an IPv4 address with the same port is asked for too. Close them to release the addresses
    and remove Unix paths. Raises `BindError`, or `ConfigError` from `addresses`; nothing stays bound then.
    """
    passed = take_passed(environ)
    wanted = addresses(settings, passed)
    if passed:
        _tell_of_host_and_port(settings, len(passed))
    with contextlib.ExitStack() as undo:
        sockets: list[socket.socket] = []

        def keep(sock: socket.socket) -> None:
            undo.callback(sock.close)
            sockets.append(sock)

        for address in wanted:
            if address.kind == "unix":
                keep(_bind_unix(address, settings.uds_permissions))
            elif address.kind == "fd":
                keep(_take_over(address))
        for sock in _bind_tcp([address for address in wanted if address.kind == "tcp"]):
            keep(sock)
        undo.pop_all()
    return sockets


def bind_admin(settings: Settings) -> list[socket.socket]:
    """Bind ``admin``, and listen at once: who asks before there is somebody to answer waits. Empty without it.

    Raises as `bind_sockets` does.
    """
    address = admin_address(settings)
    if address is None:
        return []
    with contextlib.ExitStack() as undo:
        sockets: list[socket.socket] = []
        if address.kind == "unix":
            found: Iterable[socket.socket] = [_bind_unix(address, settings.uds_permissions)]
        else:
            found = _bind_tcp([address])
        for sock in found:
            undo.callback(sock.close)
            sockets.append(sock)
            _listen_for_admin(sock, address, settings)
        undo.pop_all()
    return sockets


def _listen_for_admin(sock: socket.socket, address: BindAddress, settings: Settings) -> None:
    if address.kind == "tcp":
        host, port = sock.getsockname()[:2]
        if not (settings.admin_allow_public or is_loopback(host)):
            raise BindError(
                f"{address} is {host_port(host, port)}, which is not a loopback address: choose another --admin."
            )
        try:
            sock.listen(ADMIN_BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise BindError(taken(host_port(host, port), port, address.option)) from None
            raise
    else:
        sock.listen(ADMIN_BACKLOG)


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
    return f"{'https' if tls else 'http'}://{host_port(name[0], name[1])}"


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
            option=address.option,
        )
        for family, sockaddr in unique
    ]


def _bind_endpoint(endpoint: _Endpoint, port: int, everything: list[_Endpoint]) -> socket.socket:
    sock = TcpListener(endpoint.family, socket.SOCK_STREAM)
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
    where = host_port(endpoint.host, port)
    if error.errno == errno.EADDRINUSE:
        return BindError(taken(where, port, endpoint.option))
    if error.errno in (errno.EACCES, errno.EPERM):
        cure = "a port below 1024 needs root or CAP_NET_BIND_SERVICE; choose a higher "
        cure += endpoint.option or "--port or --bind"
        return BindError(f"{where} is forbidden to this user: {cure}.")
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        cure = "choose one that it has, or 0.0.0.0 for all"
        return BindError(
            f"{where} is not an address of this machine: {cure} ({endpoint.option or '--host or --bind'})."
        )
    return BindError(f"{where} cannot be bound: {error.strerror or error}.")


def taken(where: str, port: int, option: str = "") -> str:
    """The sentence for an address in use: who to look for, and what to do; ``option`` as in `BindAddress`."""
    finder = f"lsof -nP -iTCP:{port} -sTCP:LISTEN" if sys.platform == "darwin" else f"ss -ltnp sport = :{port}"
    option = option or "--port or --bind"
    return f'{where} is taken: "{finder}" shows by whom; stop that process, or choose another {option}.'


def _tell_of_host_and_port(settings: Settings, passed: int) -> None:
    usual = Settings()
    if (settings.host, settings.port) != (usual.host, usual.port):
        sockets = "a socket was" if passed == 1 else f"{passed} sockets were"
        logger.warning(
            "host and port (%s) are not used: %s passed by the service manager. "
            "To listen there as well, name it by --bind.",
            host_port(settings.host, settings.port),
            sockets,
        )


def _take_over(address: BindAddress) -> socket.socket:
    """Use an inherited socket as it is: its options, and whether it already listens.

    A plain `socket.socket`: the path of a Unix socket is its owner's to remove, and so it stays when we close.
    """
    where, fd = str(address), address.fd
    if address.passed is not None:
        where += f" ({address.passed}, passed by the service manager)"
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        found = "is not open" if error.errno == errno.EBADF else "is not a socket"
        raise BindError(
            f"{where} {found}: pass a bound stream socket as file descriptor {fd}, "
            "as systemd's socket activation does, or use --bind with an address."
        ) from None
    problem, cure = "", "pass a bound TCP or Unix stream socket"
    if sock.type != socket.SOCK_STREAM:
        problem = f"is a socket of type {sock.type.name}, not SOCK_STREAM"
    elif sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        problem = f"is a socket of family {sock.family!s}, not IPv4, IPv6 or Unix"
    elif _connected(sock):
        problem = "is a connection, not a listening socket"
        if address.passed is not None:
            cure = "set Accept=no in the .socket unit, since keepserve accepts connections itself"
    if problem:
        sock.detach()  # not ours to close
        raise BindError(f"{where} {problem}: {cure}.")
    # Inherited descriptors outlive exec; the application's subprocesses must not hold the port.
    sock.set_inheritable(False)
    return sock


def _connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _bind_unix(address: BindAddress, permissions: int) -> socket.socket:
    sock = UnixListener(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.claim(address.path, permissions, address.option)
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            raise BindError(
                f"{address} cannot be bound: {error.strerror or error}; "
                "choose a short path in a directory that exists and that this user may write to."
            ) from None
        raise
    return sock


def _remove_stale(path: str, option: str) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        option = option or "--uds or --bind"
        raise BindError(f"unix:{path} exists and is not a socket: remove it, or choose another {option}.")
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
    raise BindError(f"unix:{path} is taken: another process listens there; {_unix_cure(option)}.")


def _unix_cure(option: str) -> str:
    finder = "lsof -U" if sys.platform == "darwin" else "ss -lxp"
    return f'"{finder}" shows which; stop it, or choose another {option or "--uds or --bind"}'
