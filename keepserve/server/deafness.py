"""Closing a TCP listener so that nobody who has connected is reset.

When the last copy of a listening socket is closed, the kernel resets whoever has connected and was not accepted yet.
However often one accepts before, somebody may come between the last time and the close. So beginners are kept out
first: a filter on the socket drops the packets that begin a connection, those who have begun finish their handshake
and are accepted, and then the close finds nobody. A client that was kept out asks again after a second (RFC 6298,
section 2) and is refused, which is safe: it has sent nothing yet.

Linux, ``SO_ATTACH_FILTER`` (Documentation/networking/filter.rst); needs no privilege.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys

HANDSHAKE = 0.05
"""Seconds for handshakes that were under way: round trips within a region take a few milliseconds."""

_SO_ATTACH_FILTER = 26

# Of the TCP header's flags (byte 13), SYN without ACK: dropped; everything else is passed on.
_INSTRUCTIONS = (
    (0x30, 0, 0, 13),  # load byte 13
    (0x54, 0, 0, 0x12),  # and SYN | ACK
    (0x15, 0, 1, 0x02),  # is it SYN alone?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # pass, in full
)
_FILTER = b"".join(struct.pack("HBBI", *instruction) for instruction in _INSTRUCTIONS)


class TcpListener(socket.socket):
    """A TCP socket that we have bound: when we are done with it, nobody else will serve it.

    One that was inherited is not: a service manager goes on with it, and must find it as it was.
    """


def deafen(sock: socket.socket) -> bool:
    """Let nobody begin to connect to a listening socket any more, in whichever process it is shared with.

    False where that is not possible or not ours to do: another kind of socket, another system.
    """
    if not isinstance(sock, TcpListener) or sys.platform != "linux":
        return False
    code = ctypes.create_string_buffer(_FILTER, len(_FILTER))
    program = struct.pack("HP", len(_INSTRUCTIONS), ctypes.addressof(code))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:
        return False  # a kernel without filters, or a sandbox that forbids them
    return True
