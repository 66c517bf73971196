"""The ruler itself: what the clients of a balancer call a failure, by a balancer that does each of it."""

from __future__ import annotations

import asyncio

import pytest

from tests.balancers.load import Client, Report, Request

HOST = "127.0.0.1"

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Connection: 7.1\r\nX-Client: 127.0.0.1\r\n\r\nhi"


def failures(answer: bytes) -> dict[str, int]:
    """What is said of one request that gets this and then the end of the connection."""

    async def run() -> Report:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\nhi")
            writer.write(answer)
            writer.close()

        async with await asyncio.start_server(serve, HOST, 0) as server:
            report = Report()
            client = Client(server.sockets[0].getsockname()[1], report, address=HOST, front="it")
            await client.ask(Request("POST", "POST /echo", b"hi", b"hi"))
            client.close()
            await asyncio.sleep(0.01)
        assert report.kinds == {"POST": 1}
        return report

    return dict(asyncio.run(run()).failures)


def test_a_whole_answer_of_the_right_client_is_none() -> None:
    assert failures(WHOLE) == {}


@pytest.mark.parametrize(
    ("answer", "called"),
    [
        (b"", "POST: IncompleteReadError"),
        (WHOLE[:-1], "POST: IncompleteReadError"),
        (WHOLE.replace(b"200 OK", b"502 Bad Gateway"), "POST: status 502"),
        (WHOLE.replace(b"\r\n\r\nhi", b"\r\n\r\nho"), "POST: wrong body"),
        (WHOLE.replace(b"X-Client: 127.0.0.1", b"X-Client: 192.0.2.1"), "POST: the client was 192.0.2.1"),
    ],
    ids=["nothing", "cut", "502", "body", "client"],
)
def test_each_failure_has_its_name(answer: bytes, called: str) -> None:
    (found,) = failures(answer)
    assert found.startswith(called)
