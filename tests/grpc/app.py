"""A raw gRPC service over ASGI, without generated code: messages are bytes, and each method shows one thing.

A message on the wire is a zero (not compressed), four bytes of length and that many bytes (gRPC over HTTP/2,
"Length-Prefixed-Message"). The status is told in trailers, or, by a call that fails before its first message,
in the head of a response without a body ("Trailers-Only").
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

OK, INVALID_ARGUMENT, UNIMPLEMENTED = 0, 3, 12

SEEN: defaultdict[str, list[str]] = defaultdict(list)
"""What happened to the calls, by the name a client gave them."""
SENT: defaultdict[str, int] = defaultdict(int)
"""Messages of ``Flood`` whose send has returned."""


class Gone(Exception):
    """The client is not there any more: it cancelled, or its deadline has passed."""


class Call:
    """One call: the client's messages, and ours."""

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        self.fields = dict(scope["headers"])
        told = scope["extensions"]["keepserve"]
        self.initial = [
            (b"content-type", b"application/grpc"),
            (b"x-connection", b"%d.%d" % (told["worker_pid"], told["connection_id"])),
        ]
        self.trailing: list[tuple[bytes, bytes]] = []
        self._receive = receive
        self._send = send
        self._started = False

    async def messages(self) -> AsyncIterator[bytes]:
        """The client's messages, each as soon as it is complete."""
        buffer = bytearray()
        more = True
        while more:
            part = await self._receive()
            if part["type"] == "http.disconnect":
                raise Gone
            buffer += part["body"]
            more = part["more_body"]
            while len(buffer) >= 5 and len(buffer) >= (end := 5 + int.from_bytes(buffer[1:5])):
                assert buffer[0] == 0, "this service takes no compressed messages"
                yield bytes(buffer[5:end])
                del buffer[:end]
        assert not buffer, "the client's last message is not whole"

    async def only_message(self) -> bytes:
        """The message of a client that sends one."""
        (message,) = [message async for message in self.messages()]
        return message

    async def gone(self) -> None:
        """Wait until the client is not there any more."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def send(self, message: bytes) -> None:
        """Send a message; it returns when the next one is welcome."""
        if not self._started:
            self._started = True
            await self._send(
                {"type": "http.response.start", "status": 200, "headers": self.initial, "trailers": True}
            )
        body = b"\0" + len(message).to_bytes(4) + message
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self, code: int = OK, text: str = "") -> None:
        """Tell the status."""
        status = [(b"grpc-status", b"%d" % code), *self.trailing]
        if text:
            status.append((b"grpc-message", quote(text).encode()))
        if self._started:
            await self._send({"type": "http.response.body", "body": b""})
            await self._send({"type": "http.response.trailers", "headers": status})
        else:
            await self._send({"type": "http.response.start", "status": 200, "headers": [*self.initial, *status]})
            await self._send({"type": "http.response.body", "body": b""})


async def echo(call: Call) -> None:
    """One message back."""
    await call.send(await call.only_message())
    await call.end()


async def digest(call: Call) -> None:
    """Many messages; their number and the SHA-256 of all of them back."""
    count, total = 0, hashlib.sha256()
    async for message in call.messages():
        count += 1
        total.update(message)
    await call.send(b"%d %b" % (count, total.hexdigest().encode()))
    await call.end()


async def count(call: Call) -> None:
    """As many messages as asked for, each of the size asked for."""
    asked = json.loads(await call.only_message())
    for number in range(asked["count"]):
        await call.send(b"%d" % number * asked["size"])
    await call.end()


async def talk(call: Call) -> None:
    """Each message back before the next."""
    async for message in call.messages():
        await call.send(message)
    await call.end()


async def fail(call: Call) -> None:
    """The status asked for, after as many messages as asked for."""
    asked = json.loads(await call.only_message())
    for number in range(asked["after"]):
        await call.send(b"%d" % number)
    await call.end(asked["code"], asked["text"])


async def crash(call: Call) -> None:
    """An error of the application, after as many messages as asked for."""
    for number in range(json.loads(await call.only_message())["after"]):
        await call.send(b"%d" % number)
    raise ZeroDivisionError("this method was asked to fail")


async def metadata(call: Call) -> None:
    """The client's metadata back, at both ends."""
    pairs = [(b"x-echo", call.fields[b"x-asked"]), (b"x-echo-bin", call.fields[b"x-asked-bin"])]
    call.initial += pairs
    call.trailing += pairs
    await call.send(await call.only_message())
    await call.end()


async def wait(call: Call) -> None:
    """Nothing, until the client goes away."""
    name = (await call.only_message()).decode()
    SEEN[name].append(f"started, grpc-timeout {'' if b'grpc-timeout' in call.fields else 'not '}told")
    await call.gone()
    SEEN[name].append("disconnected")


async def listen(call: Call) -> None:
    """Messages until the client goes away, or ends."""
    name = ""
    try:
        async for message in call.messages():
            name = message.decode()
            SEEN[name].append("message")
    except Gone:
        SEEN[name].append("disconnected")


async def flood(call: Call) -> None:
    """Numbered messages of 16 KiB, for ever."""
    name = (await call.only_message()).decode()
    try:
        while True:
            await call.send(b"%d " % SENT[name] * 2000)
            SENT[name] += 1
    except OSError:
        SEEN[name].append("disconnected")


class _Meeting:
    now = 0
    complete = asyncio.Event()


async def meet(call: Call) -> None:
    """An answer when as many of these calls as asked for are running at once."""
    expected = int(await call.only_message())
    _Meeting.now += 1
    if _Meeting.now == expected:
        _Meeting.complete.set()
    await _Meeting.complete.wait()
    await call.send(b"%d" % _Meeting.now)
    await call.end()


async def seen(call: Call) -> None:
    """What happened to the calls of a name."""
    name = (await call.only_message()).decode()
    await call.send(json.dumps({"events": SEEN[name], "sent": SENT[name]}).encode())
    await call.end()


METHODS: dict[str, Callable[[Call], Awaitable[None]]] = {
    f"/keepserve.test/{method.__name__.capitalize()}": method
    for method in (echo, digest, count, talk, fail, crash, metadata, wait, listen, flood, meet, seen)
}


async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """The service."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    call = Call(scope, receive, send)
    assert "http.response.trailers" in scope["extensions"], "gRPC needs trailers"
    if method := METHODS.get(scope["path"]):
        await method(call)
    else:
        await call.end(UNIMPLEMENTED, f"there is no {scope['path']}")
