"""An Application Load Balancer stand-in: a process that does what AWS documents, in seconds of one's choice.

* **Idle timeout** (``idle_timeout.timeout_seconds``) on the target's side, pooled connections, no request sent
  twice, the 502 and 504 rules: ``alb_targets``.
* **Health checks**: each on a connection of its own, a matcher of 200, thresholds; a new target needs one success.
  Requests go to the healthy targets in turns; with none healthy to all registered ones (it "fails open"), and with
  none registered, or only draining ones, the client gets 503.
* **Deregistration**: no new request; what is under way may end within the delay, and gets 502 after it.
* **Fields**: ``X-Forwarded-For`` in append mode, ``-Proto`` and ``-Port`` of the listener, ``X-Amzn-Trace-Id``.
* **Target groups** of HTTP/1.1 and HTTP/2. A real one answers 464 to an HTTP/1.1 client of the latter; so does this
  one unless ``any_client`` is set, which spares the clients of these tests HTTP/2 and TLS.

It differs knowingly in what is not the server's business: HTTP/2 to the target is not encrypted, there is one
load balancer node, and the client's side has no idle timeout (a real one has the same there).

Sources: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/ (edit-load-balancer-attributes,
edit-target-group-attributes, target-group-health-checks, load-balancer-request-tracing,
load-balancer-troubleshooting, x-forwarded-headers).

Run as ``python -m tests.balancers.alb '{"port": 8080, "targets": [8000]}'``. It says ``going`` when it listens;
then each line of its standard input is an order (``Alb`` has them as methods) and is answered with a line of JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import random
import re
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import uvloop

from tests.balancers.alb_http2 import Http2Pool
from tests.balancers.alb_targets import (
    HOST,
    OF_A_CONNECTION,
    Fields,
    GatewayError,
    Http1Pool,
    Pool,
    Request,
)

REASONS = {200: b"OK", 464: b"", 502: b"Bad Gateway", 503: b"Service Unavailable", 504: b"Gateway Timeout"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The load balancer's attributes, in seconds, with the defaults AWS has. ``protocol`` is HTTP1 or HTTP2."""

    port: int
    targets: tuple[int, ...] = ()
    protocol: str = "HTTP1"
    any_client: bool = False
    idle_timeout: float = 60.0
    deregistration_delay: float = 300.0
    health_path: str = "/"
    health_interval: float = 30.0
    health_timeout: float = 5.0
    healthy_threshold: int = 5
    unhealthy_threshold: int = 2


class Target:
    """A registered target: ``state`` is initial, healthy, unhealthy, draining or unused."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.state = "initial"
        self.requests = 0
        self.under_way: dict[asyncio.Task[None], Request] = {}
        self._row = 0
        """Checks in a row that speak for the other state."""

    def checked(self, good: bool, plan: Plan) -> None:
        """Take the outcome of a health check."""
        if self.state not in ("initial", "healthy", "unhealthy"):
            return
        if good == (self.state == "healthy"):
            self._row = 0
            return
        self._row += 1
        if self._row >= (plan.healthy_threshold if good else plan.unhealthy_threshold) or (
            good and self.state == "initial"
        ):
            self.state = "healthy" if good else "unhealthy"
            self._row = 0


class Balancer:
    """A listener and its target group."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.targets: list[Target] = []
        self._turn = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen, and check the targets' health."""
        for port in self.plan.targets:
            self.register(port)
        self._server = await asyncio.start_server(self._client, HOST, self.plan.port)

    async def stop(self) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        for task in [*self._tasks, *(task for target in self.targets for task in target.under_way)]:
            task.cancel()
        for target in self.targets:
            target.pool.close()

    # The target group.

    def register(self, port: int) -> Target:
        """Add a target; it gets requests when it has passed a health check."""
        kind = {"HTTP1": Http1Pool, "HTTP2": Http2Pool}[self.plan.protocol]
        target = Target(kind(port, self.plan.idle_timeout))
        self.targets.append(target)
        self._spawn(self._watch(target))
        return target

    def deregister(self, port: int) -> None:
        """Take a target out, at the latest after the delay."""
        target = self._named(port)
        target.state = "draining"
        self._spawn(self._drain(target))

    async def sent(self, port: int) -> None:
        """Wait until whatever was to go to a target is on its way there, and it may be stopped."""
        for request in list(self._named(port).under_way.values()):
            await request.on_its_way.wait()

    def _named(self, port: int) -> Target:
        return next(one for one in reversed(self.targets) if one.pool.port == port)

    def state(self) -> dict[str, Any]:
        """What it thinks of its targets, and what it counted on their connections; the last one of each port."""
        return {
            str(target.pool.port): {"state": target.state, "requests": target.requests, **target.pool.counted}
            for target in self.targets
        }

    def choose(self) -> Target:
        """The target of the next request; GatewayError(503) if nobody is registered."""
        registered = [one for one in self.targets if one.state in ("initial", "healthy", "unhealthy")]
        if not registered:
            raise GatewayError(503, "no registered target")
        able = [one for one in registered if one.state == "healthy"] or registered
        self._turn += 1
        return able[self._turn % len(able)]

    async def _watch(self, target: Target) -> None:
        while target.state in ("initial", "healthy", "unhealthy"):
            target.checked(await self._healthy(target.pool), self.plan)
            await asyncio.sleep(self.plan.health_interval)

    async def _healthy(self, pool: Pool) -> bool:
        fields = [(b"host", b"%b:%d" % (HOST.encode(), pool.port)), (b"user-agent", b"ELB-HealthChecker/2.0")]
        found = _Status()
        try:
            async with asyncio.timeout(self.plan.health_timeout):
                path = self.plan.health_path.encode()
                await pool.exchange(Request(b"GET", path, fields, _nothing()), found, fresh=True)
        except (GatewayError, TimeoutError):
            return False
        return found.status == 200

    async def _drain(self, target: Target) -> None:
        if target.under_way:
            await asyncio.wait(target.under_way, timeout=self.plan.deregistration_delay)
        for task in target.under_way:
            task.cancel("the deregistration delay has elapsed")
        target.state = "unused"
        target.pool.close()

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # The client's side.

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._request(reader, writer):
                pass
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the client went, or the load balancer does
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether there may be another."""
        head = (await reader.readuntil(b"\r\n\r\n"))[:-4]
        first, *lines = head.split(b"\r\n")
        method, path, _ = first.split(b" ")
        split = (line.partition(b":") for line in lines)
        fields = [(name.lower(), value.strip()) for name, _, value in split]
        known = dict(fields)
        chunked = known.get(b"transfer-encoding", b"").lower() == b"chunked"
        length = None if chunked else int(known.get(b"content-length", b"0"))
        if known.get(b"expect", b"").lower() == b"100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        peer = writer.get_extra_info("peername")[0]
        passed_on = forwarded(fields, peer, self.plan.port, time.time())
        body = _Body(reader, length)
        reply = _Reply(writer)
        try:
            if self.plan.protocol == "HTTP2" and not self.plan.any_client:
                raise GatewayError(464, "the client speaks HTTP/1.1, the target group HTTP/2")
            await self._pass_on(self.choose(), Request(method, path, passed_on, body.parts(), length), reply)
        except GatewayError as error:
            if reply.status:
                return False  # half of an answer is out: all that is left is to end it
            reason = f"{error}\n".encode()
            await reply.head(error.status, [(b"content-length", b"%d" % len(reason)), (b"server", b"awselb/2.0")])
            await reply.data(reason)
        await reply.end()
        # An answer that came before the end of the request leaves the rest of that unread.
        return body.whole

    async def _pass_on(self, target: Target, request: Request, reply: _Reply) -> None:
        target.requests += 1
        exchange = asyncio.ensure_future(target.pool.exchange(request, reply))
        target.under_way[exchange] = request
        try:
            await asyncio.wait({exchange})
        except asyncio.CancelledError:
            exchange.cancel()
            raise
        finally:
            del target.under_way[exchange]
            request.on_its_way.set()  # or it never will be
        if exchange.cancelled():
            raise GatewayError(502, "the deregistration delay has elapsed")
        exchange.result()


def forwarded(fields: Fields, peer: str, port: int, now: float) -> Fields:
    """The fields as the target gets them: without those of the connection, with those the load balancer adds."""
    kept = [field for field in fields if field[0] not in OF_A_CONNECTION]
    chain = [value for name, value in kept if name == b"x-forwarded-for"]
    trace = next((value for name, value in kept if name == b"x-amzn-trace-id"), None)
    own = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-port", b"x-amzn-trace-id")
    return [
        *(field for field in kept if field[0] not in own),
        (b"x-forwarded-for", b", ".join([*chain, peer.encode()])),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-port", b"%d" % port),
        (b"x-amzn-trace-id", traced(trace, now)),
    ]


def traced(given: bytes | None, now: float) -> bytes:
    """X-Amzn-Trace-Id: a new Root for a request without; otherwise its own Self, in place of one that is there."""
    identity = b"1-%08x-%024x" % (int(now), random.getrandbits(96))
    if given is None:
        return b"Root=" + identity
    rest = re.sub(rb"(?:^|;)Self=[^;]*", b"", given).lstrip(b";")
    return b"Self=" + identity + b";" + rest


class _Reply:
    """The answer to a client: with a length, or chunked."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._chunked = False
        self.status = 0

    async def head(self, status: int, fields: Fields) -> None:
        self.status = status
        self._chunked = not any(name == b"content-length" for name, _ in fields) and status not in (204, 304)
        extra = [(b"transfer-encoding", b"chunked")] if self._chunked else []
        lines = [b"HTTP/1.1 %d %b" % (status, REASONS.get(status, b"-"))]
        lines += [b"%b: %b" % field for field in [*fields, *extra]]
        self._writer.write(b"\r\n".join(lines) + b"\r\n\r\n")

    async def data(self, part: bytes) -> None:
        if part:
            self._writer.write(b"%x\r\n%b\r\n" % (len(part), part) if self._chunked else part)
            await self._writer.drain()

    async def end(self) -> None:
        if self._chunked:
            self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()


class _Status:
    """The answer to a health check: its status is all that counts."""

    status = 0

    async def head(self, status: int, fields: Fields) -> None:
        self.status = status

    async def data(self, part: bytes) -> None:
        pass


async def _nothing() -> AsyncIterator[bytes]:
    for part in ():
        yield part


class _Body:
    """The body of a client's request, and whether all of it was read."""

    def __init__(self, reader: asyncio.StreamReader, length: int | None) -> None:
        self._reader = reader
        self._length = length
        self.whole = length == 0

    async def parts(self) -> AsyncIterator[bytes]:
        reader, length = self._reader, self._length
        if length is None:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                yield await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        while length:
            part = await reader.read(min(length, 65536))
            if not part:
                raise EOFError("the client left within its request")
            length -= len(part)
            # Before it is passed on: the answer may come with the last part.
            self.whole = length == 0
            yield part
        self.whole = True


async def run(plan: Plan) -> None:
    """Serve until standard input ends."""
    balancer = Balancer(plan)
    await balancer.start()
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    print("going", flush=True)
    async for line in orders:
        order, *port = line.decode().split()
        if order == "register":
            balancer.register(int(port[0]))
        elif order == "deregister":
            balancer.deregister(int(port[0]))
            await balancer.sent(int(port[0]))
        print(json.dumps(balancer.state()), flush=True)
    await balancer.stop()


def main() -> None:
    """Run the plan given as JSON."""
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(run(Plan(**json.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
