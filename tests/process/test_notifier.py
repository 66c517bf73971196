"""What the service manager is told, read at the other end of its socket."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from keepserve.process import systemd
from keepserve.process.systemd import Notifier


class Manager:
    """The manager's end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        """The messages since the last call."""
        messages = []
        try:
            while True:
                messages.append(self._socket.recv(4096).decode())
        except BlockingIOError:
            return messages

    def fill(self) -> None:
        """Take no further message."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(self._socket.getsockname())
            try:
                while True:
                    sender.send(b"X=1")
            except BlockingIOError:
                pass

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.close()


def test_each_state_is_one_message_in_the_manager_s_words(manager: Manager) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.address}, clock=lambda: 12_345_678)
    assert notifier.enabled
    notifier.ready("2 workers serve")
    notifier.reloading("reading settings")
    notifier.ready()
    notifier.status("worker 7 has crashed\nMAINPID=1")
    notifier.ping()
    notifier.stopping()
    assert manager.heard() == [
        "READY=1\nSTATUS=2 workers serve",
        "RELOADING=1\nMONOTONIC_USEC=12345678\nSTATUS=reading settings",
        "READY=1",
        "STATUS=worker 7 has crashed MAINPID=1",
        "WATCHDOG=1",
        "STOPPING=1",
    ]


def test_the_time_of_a_reload_is_that_of_the_monotonic_clock(manager: Manager) -> None:
    before = systemd.time.monotonic_ns() // 1000
    Notifier({"NOTIFY_SOCKET": manager.address}).reloading()
    after = systemd.time.monotonic_ns() // 1000
    assert before <= int(manager.heard()[0].rpartition("=")[2]) <= after


@pytest.mark.skipif(not Path("/proc").exists(), reason="abstract names are of Linux")
def test_an_abstract_socket_is_written_with_an_at_sign() -> None:
    manager = Manager(f"@keepserve-test-{os.getpid()}")
    try:
        Notifier({"NOTIFY_SOCKET": manager.address}).ready()
        assert manager.heard() == ["READY=1"]
    finally:
        manager.close()


def test_the_variables_are_not_left_for_children(manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/bin"}
    Notifier(environ)
    assert environ == {"PATH": "/bin"}


def test_without_a_manager_nothing_is_said_and_nothing_happens(caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier({"WATCHDOG_USEC": "1000000"})
    notifier.ready()
    notifier.ping()
    assert not notifier.enabled
    assert notifier.watchdog_interval is None
    assert caplog.messages == []


@pytest.mark.parametrize("address", ["vsock:2:1234", "relative/path", "@", "/"])
def test_an_address_that_cannot_be_used_is_told_once(address: str, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address})
    notifier.ready()
    notifier.ready()
    assert len([one for one in caplog.records if one.levelno >= logging.WARNING]) == 1


@pytest.mark.parametrize(
    ("microseconds", "pid", "expected"),
    [
        ("30000000", "", 15.0),
        ("30000000", "ours", 15.0),
        ("30000000", "another's", None),
        ("500000", "", 0.25),
        ("", "", None),
        ("0", "", None),
        ("-1", "", None),
        ("soon", "", None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_bites(
    microseconds: str, pid: str, expected: float | None, manager: Manager
) -> None:
    pids = {"ours": str(os.getpid()), "another's": str(os.getpid() + 1)}
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": microseconds, "WATCHDOG_PID": pids.get(pid, pid)}
    assert Notifier(environ).watchdog_interval == expected


def test_a_manager_that_is_gone_is_told_once_and_nothing_raises(
    manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    manager.close()
    with caplog.at_level(logging.DEBUG, "keepserve"):
        notifier.ready()
        notifier.ping()
    first, second = caplog.records
    assert first.getMessage() == (
        "The service manager was not told READY=1: NOTIFY_SOCKET fails with: Connection refused"
    )
    assert (first.levelno, second.levelno) == (logging.WARNING, logging.DEBUG)


def test_a_manager_that_does_not_read_costs_a_moment_at_most(
    manager: Manager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(systemd, "_PATIENCE", 0.0)
    manager.fill()
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    notifier.status("unheard")
    assert caplog.messages == [
        "The service manager was not told STATUS: NOTIFY_SOCKET fails with: Resource temporarily unavailable"
    ]
    manager.heard()
    notifier.ready()
    assert manager.heard() == ["READY=1"]
