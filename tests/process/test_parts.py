"""Signals on a pipe, forked children, event loops, and what is refused before anything starts."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keepserve.config import ConfigError, Settings
from keepserve.process import run_supervised
from keepserve.process.fork import fork_child
from keepserve.process.loops import loop_factory
from keepserve.process.signals import HANDLED, SignalInbox, no_op
from keepserve.process.terminal import Terminal


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    """Forking freezes what the garbage collector knows; a test run goes on and wants it collected."""
    yield
    gc.unfreeze()


def _in_child(main: Callable[[], int]) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(fork_child(main), 0)[1])


# -- Signals


def test_signals_come_as_numbers_in_order() -> None:
    with SignalInbox() as inbox:
        assert inbox.read() == []
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(number)
        assert inbox.read() == [signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP]


def test_leaving_puts_everything_back() -> None:
    before = [signal.getsignal(number) for number in HANDLED]
    with SignalInbox():
        assert signal.getsignal(signal.SIGTERM) is no_op
    assert [signal.getsignal(number) for number in HANDLED] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with SignalInbox() as inbox:
            signal.raise_signal(signal.SIGHUP)
            assert inbox.read() == []
    finally:
        signal.signal(signal.SIGHUP, before)


# -- Children


def test_a_child_exits_with_what_its_main_returns() -> None:
    assert _in_child(lambda: 17) == 17


def test_a_child_never_returns_into_its_parents_code() -> None:
    def fails() -> int:
        # What pytest would make of it in the child is of no interest here.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        raise LookupError("unexpected")

    def leaves() -> int:
        sys.exit(5)

    assert _in_child(fails) == 1
    assert _in_child(leaves) == 5


def test_a_child_has_default_signals_and_is_deaf_to_what_is_sent_to_all() -> None:
    def dispositions() -> int:
        wakeup = signal.set_wakeup_fd(-1)
        found = {number: signal.getsignal(number) for number in HANDLED}
        deaf = {number for number, handler in found.items() if handler is no_op}
        default = {number for number, handler in found.items() if handler is signal.SIG_DFL}
        well = default == {signal.SIGTERM, signal.SIGCHLD} and len(deaf | default) == len(HANDLED)
        return 0 if well and wakeup == -1 and not signal.pthread_sigmask(signal.SIG_BLOCK, ()) else 1

    with SignalInbox():
        assert _in_child(dispositions) == 0


def test_exit_functions_of_the_child_run_and_those_of_the_parent_do_not(tmp_path: Path) -> None:
    parents, childs = tmp_path / "parent", tmp_path / "child"
    atexit.register(parents.touch)

    def registers() -> int:
        atexit.register(childs.touch)
        return 0

    try:
        assert _in_child(registers) == 0
        assert childs.exists()
        assert not parents.exists()
    finally:
        atexit.unregister(parents.touch)


def test_threads_of_the_child_are_waited_for(tmp_path: Path) -> None:
    done = tmp_path / "done"

    def starts_a_thread() -> int:
        wait = threading.Event()
        threading.Timer(0.05, done.touch).start()
        return int(wait.is_set())

    assert _in_child(starts_a_thread) == 0
    assert done.exists()


def test_forking_beside_a_thread_gives_no_warning_of_pythons() -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        assert _in_child(lambda: 0) == 0  # warnings are errors here
    finally:
        release.set()
        thread.join()


# -- The rest


def test_event_loops_go_by_their_names() -> None:
    import asyncio

    import uvloop

    assert loop_factory("uvloop") is loop_factory("auto") is uvloop.new_event_loop
    assert loop_factory("asyncio") is asyncio.new_event_loop


def test_without_uvloop_auto_is_asyncio_and_uvloop_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory("auto") is asyncio.new_event_loop
    with pytest.raises(ConfigError, match="pip install uvloop"):
        loop_factory("uvloop")


def test_outside_the_main_thread_it_says_what_to_use_instead() -> None:
    caught: list[BaseException] = []

    def run() -> None:
        try:
            run_supervised(Settings(port=0))
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert "needs the main thread" in str(caught[0])


def test_a_terminal_that_never_was_has_not_hung_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> int:
        raise OSError(6, "No such device or address")

    there = Terminal()
    monkeypatch.setattr(os, "open", gone)
    assert not Terminal().hung_up()
    assert there.hung_up() == there._present
