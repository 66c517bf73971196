"""Connections that must begin with a PROXY protocol header: who is believed, and what becomes of the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from keepserve.server.preamble import Preamble
from tests.http2.frames import PREFACE, get, settings
from tests.proxy.headers import LOCAL, TCP6, UNIX, checked, ends, tls, tlv, unix, v1, v2
from tests.support.accesslog import Log
from tests.support.applications import Seen
from tests.support.harness import GET, Client, Worker, in_loop, turns
from tests.support.harness import get as get1
from tests.support.http2 import Http2Client

BALANCER: dict[str, Any] = {"proxy_protocol": "require", "proxy_protocol_from": ("192.0.2.0/24",)}
TOLD = ("203.0.113.7", 4711), ("192.0.2.80", 443)
REAL = ("192.0.2.1", 40000), ("192.0.2.2", 80)


def told(seen: Seen) -> tuple[Any, Any]:
    """Client and server of the last scope."""
    return seen.scopes[-1]["client"], seen.scopes[-1]["server"]


def whole(client: Client, data: bytes) -> None:
    """All at once."""
    client.send(data)


def bytewise(client: Client, data: bytes) -> None:
    """Byte by byte."""
    for index in range(len(data)):
        client.send(data[index : index + 1])


def in_two(client: Client, data: bytes) -> None:
    """With a cut in the middle of the header."""
    client.send(data[:14])
    client.send(data[14:])


@pytest.mark.parametrize("send", [whole, bytewise, in_two])
@pytest.mark.parametrize(
    ("header", "ends"),
    [
        (v1(), TOLD),
        (v1("2001:db8::7", 1, "2001:db8::80", 2), (("2001:db8::7", 1), ("2001:db8::80", 2))),
        (b"PROXY UNKNOWN\r\n", REAL),
        (v2(), TOLD),
        (checked(tlv(0x01, b"http/1.1")), TOLD),
        (v2(family=TCP6, block=ends("2001:db8::7", 1, "2001:db8::80", 2)), (("2001:db8::7", 1), ("2001:db8::80", 2))),
        (v2(family=UNIX, block=unix(b"/c", b"/s")), (("/c", None), ("/s", None))),
        (v2(family=UNIX, block=unix(b"", b"")), (None, None)),
        (v2(command=LOCAL, family=0, block=b""), REAL),
        (v2(family=0, block=b""), REAL),
    ],
)
@in_loop
async def test_the_clients_address_is_that_of_the_header(
    send: Callable[[Client, bytes], None], header: bytes, ends: tuple[Any, Any]
) -> None:
    seen = Seen()
    client = Worker(seen, **BALANCER).connect()
    send(client, header + GET)
    await turns()
    assert client.statuses == [200]
    assert told(seen) == ends
    client.send(GET)
    await turns()
    assert told(seen) == ends, "it is that of the connection, not of the first request"


@in_loop
async def test_http2_behind_a_header() -> None:
    seen = Seen()
    client = Http2Client(Worker(seen, **BALANCER), greeted=False)
    client.client.send(v2())
    client.send(PREFACE, settings(), settings(ack=True), get(1), get(3))
    await client.turn()
    assert client.whole(1, 3)
    assert told(seen) == TOLD
    assert [scope["http_version"] for scope in seen.scopes] == ["2", "2"]


@in_loop
async def test_applications_are_shown_the_header() -> None:
    seen = Seen()
    worker = Worker(seen, **BALANCER)
    client = worker.connect()
    client.send(v2(tlv(0x01, b"h2"), tlv(0x02, b"a.example"), tlv(0xEA, b"\x01vpce-1"), tls(0x01)) + GET)
    await turns()
    told = seen.scopes[0]["extensions"]["keepserve"]["proxy_protocol"]
    assert (told["version"], told["source"], told["destination"]) == (2, *TOLD)
    assert (told["alpn"], told["authority"], told["aws_vpc_endpoint_id"]) == ("h2", "a.example", "vpce-1")
    assert told["tls"]["verified"] is False


@in_loop
async def test_without_the_protocol_there_is_nothing_to_show_and_a_header_is_a_bad_request() -> None:
    seen = Seen()
    client = Worker(seen).connect()
    client.send(GET)
    await turns()
    assert seen.scopes[0]["extensions"]["keepserve"]["proxy_protocol"] is None
    for header in (v1(), v2()):
        client = Worker(seen).connect()
        client.send(header + GET)
        await turns()
        assert client.statuses == [400]


@pytest.mark.parametrize(("header", "scheme"), [(v2(tls(0x01)), "https"), (v2(tls(0x00)), "http"), (v2(), "http")])
@in_loop
async def test_a_client_that_spoke_tls_to_the_balancer_has_the_scheme_https(header: bytes, scheme: str) -> None:
    seen = Seen()
    client = Worker(seen, **BALANCER).connect()
    client.send(header + GET)
    await turns()
    assert seen.scopes[0]["scheme"] == scheme


@pytest.mark.parametrize(
    "data",
    [
        GET,
        PREFACE,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0",
        b"PROXY TCP4 evil 2.2.2.2 1 2\r\n",
        b"PROXY " + b"x" * 200,
        v2(family=0x55),
        v2(length=60000),
        checked()[:-1] + b"?" + GET,
    ],
)
@in_loop
async def test_without_a_good_header_the_connection_is_closed_without_an_answer(data: bytes) -> None:
    seen = Seen()
    worker = Worker(seen, **BALANCER)
    client = worker.connect()
    client.send(data)
    await turns()
    assert client.transport.sent == b""
    assert client.transport.lost
    assert worker.closed == {"proxy_header": 1}
    assert not seen.scopes
    assert not worker.state.pending


@pytest.mark.parametrize(
    "facts",
    [
        {"peername": ("198.51.100.1", 40000)},
        {"peername": ("2001:db8::1", 40000)},
        {"peername": "", "sockname": "/run/x"},
    ],
)
@in_loop
async def test_a_stranger_is_refused_before_it_has_said_anything(facts: Any) -> None:
    worker = Worker(**BALANCER)
    client = worker.connect(**facts)
    await turns()
    assert client.transport.lost
    assert client.transport.sent == b""
    assert worker.closed == {"proxy_header": 1}
    assert not worker.state.pending


@in_loop
async def test_a_peer_that_has_left_already_leaves_no_trace_and_is_not_taken_for_one_on_a_unix_socket() -> None:
    """The kernel has no address of it any more."""
    worker = Worker(proxy_protocol="require", proxy_protocol_from=("unix", "192.0.2.1"))
    client = worker.connect(peername=None)
    await turns()
    assert client.transport.lost
    assert not worker.state.pending
    assert worker.closed == {}


@pytest.mark.parametrize("peername", ["", "/run/client"])
@pytest.mark.parametrize("trusted", ["unix", "*"])
@in_loop
async def test_a_balancer_on_a_unix_socket_is_believed_by_name(peername: Any, trusted: str) -> None:
    seen = Seen()
    worker = Worker(seen, proxy_protocol="require", proxy_protocol_from=(trusted,))
    client = worker.connect(peername=peername, sockname="/run/x")
    client.send(v1() + GET)
    await turns()
    assert told(seen) == TOLD


@in_loop
async def test_nobody_is_believed_where_nobody_is_named() -> None:
    worker = Worker(proxy_protocol="require")
    worker.connect()
    await turns()
    assert worker.closed == {"proxy_header": 1}


# -- the deadline


@pytest.mark.parametrize("sent", [b"", b"P", v1()[:-1], v2()[:20]])
@in_loop
async def test_a_header_has_three_seconds_and_not_less(sent: bytes) -> None:
    worker = Worker(**BALANCER)
    client = worker.connect()
    worker.tick()
    if sent:
        client.send(sent)
    worker.live(2.9)
    await turns()
    assert not client.transport.lost
    worker.live(0.2)
    await turns()
    assert client.transport.lost
    assert client.transport.sent == b""
    assert worker.closed == {"proxy_header": 1}
    assert not worker.state.pending


@in_loop
async def test_who_sends_a_byte_now_and_then_has_no_more_time() -> None:
    worker = Worker(**BALANCER, proxy_protocol_timeout=1.0)
    client = worker.connect()
    for byte in v1():
        if client.transport.is_closing():
            break
        client.send(bytes([byte]))
        worker.live(0.2)
    await turns()
    assert worker.closed == {"proxy_header": 1}


@in_loop
async def test_a_header_in_its_last_moment_is_taken_and_the_connections_own_clocks_begin() -> None:
    worker = Worker(**BALANCER)
    client = worker.connect()
    client.send(v1()[:-1])
    worker.live(2.9)
    client.send(v1()[-1:])
    worker.live(60)
    assert not client.transport.lost
    client.send(GET)
    await turns()
    assert client.statuses == [200]
    worker.live(81)
    await turns()
    assert worker.closed == {"idle_timeout": 1}


@pytest.mark.parametrize("data", [v1() + GET, GET, b""], ids=["header", "none", "nothing"])
@in_loop
async def test_the_wheel_keeps_nothing_of_a_header_that_was_read_or_refused(data: bytes) -> None:
    worker = Worker(**BALANCER)
    client = worker.connect()
    worker.tick()
    if data:
        client.send(data)
    else:
        client.eof()
    await turns()
    plain = Worker()
    if worker.state.connections:
        plain.connect().send(GET)
        await turns()
    assert worker.state.wheel._population == plain.state.wheel._population
    worker.tick(0.1)
    kept = [one for slot in worker.state.wheel._slots.values() for one in slot]
    assert not any(isinstance(one, Preamble) for one in kept)


# -- the end


@pytest.mark.parametrize("sent", [b"", b"PROXY TCP4"])
@in_loop
async def test_a_peer_that_leaves_within_its_header_leaves_no_trace(sent: bytes) -> None:
    """Health checks of some balancers do no more than connect."""
    worker = Worker(**BALANCER)
    client = worker.connect()
    if sent:
        client.send(sent)
    assert len(worker.state.pending) == 1
    client.eof()
    await turns()
    assert client.transport.lost
    assert not worker.state.pending
    assert worker.closed == {}
    worker.live(10)


@in_loop
async def test_a_connection_that_breaks_within_its_header_leaves_no_trace() -> None:
    worker = Worker(**BALANCER)
    client = worker.connect()
    client.transport.lose(ConnectionResetError())
    assert not worker.state.pending
    worker.live(10)
    assert worker.closed == {}


@in_loop
async def test_a_connection_can_be_given_up_within_its_header() -> None:
    worker = Worker(**BALANCER)
    client = worker.connect()
    (waiting,) = worker.state.pending.values()
    waiting.cancel()
    await turns()
    assert client.transport.lost
    assert not worker.state.pending
    waiting.cancel()


@pytest.mark.parametrize(("sent", "seconds"), [(b"", 1.0), (b"PROXY", 3.0)])
@in_loop
async def test_at_the_end_of_the_worker_who_has_said_nothing_goes_sooner(sent: bytes, seconds: float) -> None:
    worker = Worker(**BALANCER, drain_idle=1.0)
    worker.listeners.pending = 1
    client = worker.connect()
    worker.tick()
    if sent:
        client.send(sent)
    worker.drain.stop()
    worker.live(seconds - 0.2)
    await turns()
    assert not client.transport.lost
    worker.live(0.4)
    await turns()
    assert client.transport.lost


@in_loop
async def test_a_client_that_comes_behind_its_header_while_the_worker_ends_is_served() -> None:
    worker = Worker(**BALANCER)
    worker.listeners.pending = 1
    client = worker.connect()
    worker.drain.stop()
    client.send(v1() + GET)
    await turns()
    (answer,) = client.answers()
    assert (answer.status, answer.all(b"connection")) == (200, [b"close"])


# -- the logs


@in_loop
async def test_the_access_log_has_the_client_of_the_header() -> None:
    log = Log()
    client = Worker(access=log, **BALANCER).connect()
    client.send(v1() + GET + b"nonsense\r\n")
    await turns()
    assert [line[0] for line in log.lines] == ["203.0.113.7:4711"] * 2


@in_loop
async def test_the_first_refusal_is_a_warning_and_the_others_are_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "keepserve")
    worker = Worker(**BALANCER)
    for peer in (("192.0.2.1", 1), ("198.51.100.1", 2)):
        client = worker.connect(peername=peer)
        if not client.transport.is_closing():
            client.send(GET)
    await turns()
    first, second = (record for record in caplog.records if "Refused" in record.message)
    assert first.levelname == "WARNING"
    assert "192.0.2.1:1: the connection begins with b'GET / HTTP/1', not with a PROXY" in first.message
    assert second.levelname == "DEBUG"
    assert "198.51.100.1:2, which --proxy-protocol-from does not name" in second.message


# -- together with forwarded fields: the header's source is the peer


@pytest.mark.parametrize(
    ("header", "allowed", "client"),
    [
        # The balancer is trusted, but it passes on what the client wrote.
        (v1(), ("192.0.2.0/24",), ("203.0.113.7", 4711)),
        # The header's source is a proxy of ours, in front of the balancer.
        (v1(), ("203.0.113.7",), ("9.9.9.9", 0)),
        (v1(), ("*",), ("9.9.9.9", 0)),
        # The balancer speaks for itself.
        (v2(command=LOCAL), ("192.0.2.0/24",), ("9.9.9.9", 0)),
        # "unix" is about our own sockets.
        (v2(family=UNIX, block=unix()), ("unix",), ("/run/client", None)),
        (v2(family=UNIX, block=unix(b"")), ("unix",), None),
        (v2(family=UNIX, block=unix()), ("*",), ("9.9.9.9", 0)),
    ],
)
@in_loop
async def test_forwarded_fields_are_believed_by_the_source_of_the_header(
    header: bytes, allowed: tuple[str, ...], client: Any
) -> None:
    seen = Seen()
    connection = Worker(seen, **BALANCER, forwarded_allow_ips=allowed).connect()
    connection.send(header + get1(b"/", b"X-Forwarded-For: 9.9.9.9"))
    await turns()
    assert told(seen)[0] == client
