"""Questions to the socket under a transport that asyncio has no call for."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
import sys
import termios

from keepserve.asgi.scope import Address

_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None
_RTT_END = 72
"""Where ``tcpi_rtt`` (microseconds) ends in Linux's ``struct tcp_info``: after 8 bytes and 15 words before it."""


def _fileno(transport: asyncio.Transport) -> int:
    sock = transport.get_extra_info("socket")
    return sock.fileno() if sock is not None else -1


def unread_bytes(transport: asyncio.Transport) -> int:
    """Return how many bytes the kernel holds that the loop has not read yet; 0 also when it will not say.

    Bytes that were read and wait to be decrypted count as well.
    """
    if waiting := transport.get_extra_info("unread", 0):
        return int(waiting)
    fd = _fileno(transport)
    if fd < 0:
        return 0
    try:
        answer = fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0")
    except OSError:
        return 0
    return int(struct.unpack("i", answer)[0])


def peer_is_dead(transport: asyncio.Transport) -> bool:
    """Tell whether a peer that has sent its FIN has since answered a TCP keep-alive probe with a reset."""
    fd = _fileno(transport)
    if fd < 0:
        return False
    try:
        with socket.socket(fileno=os.dup(fd)) as probe:
            return probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
    except OSError:
        return True


def reset_on_close(transport: asyncio.Transport) -> None:
    """Make the close that follows a TCP reset, so that a peer who does not read costs nothing further."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass  # not a TCP socket, or closed already


def end_sending(transport: asyncio.Transport) -> None:
    """Send a FIN behind all that was written, and go on reading."""
    try:
        transport.write_eof()
    except OSError:
        # asyncio lets it through that the peer has reset the connection since the last write. Whoever reads hears of
        # it in a moment; the application, which has had its answer written, is not to blame.
        pass


def round_trip_of(transport: asyncio.Transport) -> float:
    """Return the smoothed round-trip time of a TCP connection in seconds; 0.0 where it is not known."""
    sock = transport.get_extra_info("socket")
    if sock is None or _TCP_INFO is None:
        return 0.0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _RTT_END)
    except OSError:
        return 0.0  # not a TCP socket
    return int(struct.unpack_from("I", info, _RTT_END - 4)[0]) / 1e6 if len(info) == _RTT_END else 0.0


def address_of(transport: asyncio.Transport, name: str) -> Address | None:
    """Return ``peername`` or ``sockname`` as ASGI has it: host and port, or the path of a Unix socket."""
    try:
        address = transport.get_extra_info(name)
    except OSError:
        return None  # uvloop asks the kernel only now, and the peer may have left already
    if isinstance(address, tuple) and len(address) >= 2:
        return str(address[0]), int(address[1])
    if isinstance(address, str) and address:
        return address, None
    return None


NO_ADDRESS = ""
"""The host of a peer that has none that is known: trusted where everybody is, and not by ``unix``."""


def host_to_trust(transport: asyncio.Transport, peer: Address | None) -> str | None:
    """Return whom to look for among the trusted peers: a host, None for a Unix socket, or `NO_ADDRESS`.

    A TCP peer that has left already has no address any more, and is not to be taken for one on a Unix socket.
    """
    if peer is not None and peer[1] is not None:
        return peer[0]
    sock = transport.get_extra_info("socket")
    if sock is not None:
        return None if sock.family == socket.AF_UNIX else NO_ADDRESS
    return None if isinstance(transport.get_extra_info("sockname"), str) else NO_ADDRESS


def in_words(address: Address | None) -> str:
    """Return a client's address as the access log shows it."""
    if address is None or address[1] is None:
        return "unix"
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
