"""Real servers on sockets that somebody else has bound and keeps."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.running import PATIENCE, ROOT, Running, eventually, linux
from tests.support.programs import free_port

APP = "tests.process.passing:app"
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Sockets:
    """What systemd would hold: a TCP and a Unix socket that listen."""

    def __init__(self, directory: Path) -> None:
        self.tcp = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.path = directory / "web.sock"
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(str(self.path))
        self.unix.listen(256)

    def connect(self, family: int) -> socket.socket:
        sock = socket.socket(family)
        sock.settimeout(PATIENCE)
        sock.connect(str(self.path) if family == socket.AF_UNIX else self.tcp.getsockname())
        return sock

    def ask(self, family: int) -> str:
        """The body of one answer, on a connection of its own."""
        with self.connect(family) as sock:
            sock.sendall(REQUEST)
            return answer(sock)

    def close(self) -> None:
        self.tcp.close()
        self.unix.close()


def answer(sock: socket.socket) -> str:
    received = b""
    while data := sock.recv(65536):
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), received
    return body.decode()


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[Sockets]:
    with contextlib.closing(Sockets(tmp_path)) as sockets:
        yield sockets


@contextlib.contextmanager
def activated(fds: list[int], names: str, log: Path, *options: str, generation: str = "") -> Iterator[Running]:
    """``python -m keepserve`` that is given these descriptors."""
    passing = ["-m", "tests.process.passing", ",".join(map(str, fds)), names]
    command = [*passing, "-m", "keepserve", APP, *options]
    with Running(command, log, pass_fds=fds, env={"GENERATION": generation}).closing() as running:
        yield running


def test_passed_sockets_are_served_and_outlive_the_server(sockets: Sockets, tmp_path: Path) -> None:
    fds = [sockets.tcp.fileno(), sockets.unix.fileno()]
    port = sockets.tcp.getsockname()[1]
    with activated(fds, "web:local", tmp_path / "log", "--workers", "2", generation="one") as running:
        running.said("All 2 workers are ready")
        addresses = running.said(r"address +(.*)")
        assert addresses == [f"http://127.0.0.1:{port}, unix:{sockets.path}"]
        # Nothing else was bound, and the application's children will not take these numbers for theirs.
        assert sockets.ask(socket.AF_INET) == "one"
        assert sockets.ask(socket.AF_UNIX) == "one"
        running.send(signal.SIGTERM)
        assert running.ended() == 0
    assert sorted(one.name for one in tmp_path.iterdir()) == ["log", "web.sock"]
    for family in (socket.AF_INET, socket.AF_UNIX):
        sockets.connect(family).close()


def test_a_passed_socket_joins_what_is_named_and_is_used_once(sockets: Sockets, tmp_path: Path) -> None:
    more = tmp_path / "more.sock"
    options = ("--bind", "fd://3", "--bind", f"unix:{more}")
    with activated([sockets.tcp.fileno()], "web", tmp_path / "log", *options) as running:
        running.said("Ready after")
        port = sockets.tcp.getsockname()[1]
        assert running.said(r"address +(.*)") == [f"http://127.0.0.1:{port}, unix:{more}"]
        running.send(signal.SIGTERM)
        assert running.ended() == 0
    assert not more.exists()  # which was ours


def test_a_restart_refuses_and_loses_nobody(sockets: Sockets, tmp_path: Path) -> None:
    fds = [sockets.tcp.fileno(), sockets.unix.fileno()]
    over = threading.Event()
    failures: list[str] = []
    answers: list[str] = []

    def keep_asking(family: int) -> None:
        while not over.is_set():
            try:
                answers.append(sockets.ask(family))
            except (OSError, AssertionError) as error:
                failures.append(repr(error))
                return

    clients = [
        threading.Thread(target=keep_asking, args=(family,)) for family in (socket.AF_INET, socket.AF_UNIX) * 4
    ]
    try:
        with activated(fds, "web:local", tmp_path / "one", "--workers", "2", generation="one") as first:
            first.said("All 2 workers are ready")
            for client in clients:
                client.start()
            first.said("GET /", times=100)
            first.send(signal.SIGTERM)
            assert first.ended() == 0
        before = len(answers)
        assert set(answers) == {"one"}
        # Nobody is there, and these wait.
        early = [sockets.connect(family) for family in (socket.AF_INET, socket.AF_UNIX)]
        for sock in early:
            sock.sendall(REQUEST)
        with activated(fds, "web:local", tmp_path / "two", "--workers", "2", generation="two") as second:
            for sock in early:
                with sock:
                    assert answer(sock) == "two"
            second.said("GET /", times=100)
            over.set()
            for client in clients:
                client.join(PATIENCE)
            second.send(signal.SIGTERM)
            assert second.ended() == 0
    finally:
        over.set()
    assert failures == []
    assert set(answers[before:]) == {"two"}


def test_a_passed_connection_is_refused_with_what_to_change(sockets: Sockets, tmp_path: Path) -> None:
    client = sockets.connect(socket.AF_INET)
    accepted = sockets.tcp.accept()[0]
    with client, accepted, activated([accepted.fileno()], "connection", tmp_path / "log") as running:
        assert running.ended() == 4
        assert running.log == (
            "keepserve: fd://3 (connection, passed by the service manager) is a connection, not a listening socket: "
            "set Accept=no in the .socket unit, since keepserve accepts connections itself.\n"
        )


def test_check_leaves_passed_sockets_alone(sockets: Sockets, tmp_path: Path) -> None:
    passing = ["-m", "tests.process.passing", str(sockets.tcp.fileno()), "web"]
    command = [*passing, "-m", "keepserve", "check", APP]
    with Running(command, tmp_path / "log", pass_fds=[sockets.tcp.fileno()]).closing() as running:
        assert running.ended() == 0
        assert "These settings can be used." in running.log
    sockets.connect(socket.AF_INET).close()


def test_systemd_s_own_activator_starts_the_server_at_the_first_connection(tmp_path: Path) -> None:
    activator = shutil.which("systemd-socket-activate")
    if activator is None:
        pytest.skip("there is no systemd-socket-activate on this machine")
    port = free_port()
    command = [activator, "-l", f"127.0.0.1:{port}", "--fdname=web", "-E", f"PYTHONPATH={ROOT}", "-E", "GENERATION=x"]
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, sys.executable, "-m", "keepserve", APP],
            cwd=ROOT,
            env={**os.environ, "GENERATION": "x"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        eventually(lambda: "Listening on" in log.read_text() or process.poll() is not None, "it listens")
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
            sock.sendall(REQUEST)
            # "x" alone: none of its variables has reached the application.
            assert answer(sock) == "x"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@linux
def test_the_supervisor_tells_the_manager_each_state_and_that_it_is_alive(tmp_path: Path) -> None:
    address = tmp_path / "notify"
    heard: list[tuple[int, str]] = []
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(address))
        manager.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        manager.settimeout(PATIENCE)

        def wait_for(message: str) -> str:
            while True:
                data, ancillary, _, _ = manager.recvmsg(4096, 64)
                sender = struct.unpack("iii", ancillary[0][2])[0]
                heard.append((sender, data.decode()))
                if message in data.decode().splitlines():
                    return data.decode()

        env = {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "100000"}
        command = ["-m", "keepserve", APP, "--port", "0", "--workers", "2"]
        with Running(command, tmp_path / "log", env=env).closing() as running:
            wait_for("READY=1")
            running.said("All 2 workers are ready")
            port = int(running.said(r"serves on http://127\.0\.0\.1:(\d+)")[0])
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
                sock.sendall(REQUEST)
                assert answer(sock).strip() == ""  # nothing of it is left for the application
            wait_for("WATCHDOG=1")
            wait_for("WATCHDOG=1")
            running.send(signal.SIGHUP)
            assert re.search(r"^MONOTONIC_USEC=\d+$", wait_for("RELOADING=1"), re.MULTILINE)
            wait_for("READY=1")
            running.send(signal.SIGTERM)
            wait_for("STOPPING=1")
            assert running.ended() == 0
            # With NotifyAccess=main, the default, nobody else would be heard.
            assert {sender for sender, _ in heard} == {running.pid}
