"""A supervisor that replaces its workers: reloads, recycling, more or fewer, hanging ones. The workers are fakes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.process.running import Running, alive, eventually, fake, linux

UP = r"(?m)^up (\d+) "


def _pids(running: Running, times: int) -> list[int]:
    return [int(pid) for pid in running.said(UP, times)]


def _order_of(running: Running, *texts: str) -> list[int]:
    return [running.log.index(text) for text in texts]


# -- Reloading


def test_a_reload_starts_the_new_before_the_old_are_told_to_leave(log: Path) -> None:
    with fake("leaving", log, workers=3) as running:
        running.said("All 3 workers are ready")
        old = _pids(running, 3)
        running.send(signal.SIGHUP)
        running.said("Reloaded in .*: workers .* serve")
        new = _pids(running, 6)[3:]
        assert not set(old) & set(new)
        eventually(lambda: not any(map(alive, old)), "the end of the old")
        assert all(map(alive, new))
        ready = [running.log.index(f"Worker {pid} is ready") for pid in new]
        left = [running.log.index(f"order {pid} l") for pid in old]
        assert max(ready) < min(left)
        running.send(signal.SIGTERM)
        assert running.ended() == 0
        assert len(running.said(r"order \d+ s")) == 3


def test_the_old_leave_one_after_another(log: Path) -> None:
    with fake("lingering", log, workers=2, drain_idle=0.3) as running:
        running.said("All 2 workers are ready")
        running.send(signal.SIGHUP)
        running.said(r"order \d+ l", 1)
        first = time.monotonic()
        running.said(r"order \d+ l", 2)
        assert time.monotonic() - first > 0.2
        running.said("Reloaded in")
        running.send(signal.SIGTERM)  # those that are still leaving stop as well
        assert running.ended() == 0
        assert len(running.said(r"order \d+ s")) == 4


def test_a_successor_that_cannot_start_leaves_everything_as_it_is(log: Path, tmp_path: Path) -> None:
    with fake("second_fails", log, popen={"env": {"FAKE_MARK": str(tmp_path / "mark")}}) as running:
        running.said("serves on")
        running.send(signal.SIGHUP)
        running.said(r"The reload failed: worker \d+, which should have taken over, ended; the old workers go on")
        running.said(r"Worker \d+ ended with exit code 3 \(the application could not start\)")
        _pids(running, 2)
        time.sleep(0.2)  # for what should not come: a replacement, or the end of the old one
        assert running.process.poll() is None
        assert len(_pids(running, 2)) == 2
        assert "order" not in running.log
        running.send(signal.SIGTERM)
        assert running.ended() == 0


def test_a_successor_that_takes_for_ever_is_given_up(log: Path, tmp_path: Path) -> None:
    mark = {"env": {"FAKE_MARK": str(tmp_path / "mark")}}
    with fake("second_hangs", log, startup_timeout=0.1, popen=mark) as running:
        running.said("serves on")
        running.send(signal.SIGHUP)
        running.said(r"The reload failed: the new workers were not ready after \d+ ms")
        late = _pids(running, 2)[1]
        eventually(lambda: not alive(late), "the end of the one that came too late")
        running.send(signal.SIGTERM)
        assert running.ended() == 0


def test_a_worker_that_dies_during_a_reload_is_not_missed(log: Path, tmp_path: Path) -> None:
    mark = {"env": {"FAKE_MARK": str(tmp_path / "mark")}}
    with fake("second_hangs", log, startup_timeout=0.5, popen=mark) as running:
        running.said("serves on")
        running.send(signal.SIGHUP)
        old, _ = _pids(running, 2)
        os.kill(old, signal.SIGKILL)
        running.said("The reload failed")
        assert len(_pids(running, 3)) == 3, "nobody took the place of the dead one"


def test_a_second_hangup_reloads_once_more(log: Path) -> None:
    with fake("leaving", log, workers=2) as running:
        running.said("All 2 workers are ready")
        running.send(signal.SIGHUP)
        running.said("SIGHUP: starting 2 new workers")
        running.send(signal.SIGHUP)
        running.said("Reloaded in", 2)
        assert len(_pids(running, 6)) == 6


def test_a_hangup_during_the_start_waits_for_it(log: Path) -> None:
    with fake("leaving", log, workers=2) as running:
        _pids(running, 1)
        running.send(signal.SIGHUP)
        running.said("Reloaded in")
        running.said("All 2 workers are ready")


def test_a_stop_during_a_reload_ends_old_and_new(log: Path, tmp_path: Path) -> None:
    with fake("second_hangs", log, popen={"env": {"FAKE_MARK": str(tmp_path / "mark")}}) as running:
        running.said("serves on")
        running.send(signal.SIGHUP)
        both = _pids(running, 2)
        running.send(signal.SIGTERM)
        assert running.ended(patience=2) == 0
        assert not any(map(alive, both))


@linux
def test_many_reloads_leave_nothing_behind_in_the_supervisor(log: Path) -> None:
    def descriptors() -> int:
        return len(os.listdir(f"/proc/{running.pid}/fd"))

    with fake("leaving", log, workers=2) as running:
        running.said("All 2 workers are ready")
        before = descriptors()
        for count in range(1, 21):
            running.send(signal.SIGHUP)
            running.said("Reloaded in", count)
        living = [pid for pid in _pids(running, 42) if alive(pid)]
        eventually(lambda: sum(map(alive, living)) == 2, "two workers are left")
        # A worker's end is seen here before the supervisor has read it and closed its pipe.
        eventually(lambda: descriptors() == before, "the supervisor has as many descriptors as before")


# -- More or fewer


def test_workers_come_and_go_by_signals(log: Path) -> None:
    with fake("leaving", log, popen={"start_new_session": True}) as running:
        running.said("serves on")
        running.send(signal.SIGTTIN)
        running.said("SIGTTIN: 2 workers from now on")
        first, second = _pids(running, 2)
        running.said(f"Worker {second} is ready")
        running.send(signal.SIGTTOU)
        running.said("SIGTTOU: 1 worker from now on")
        running.said(f"order {second} l")
        eventually(lambda: not alive(second), "the end of the second")
        running.send(signal.SIGTTOU)
        running.said("SIGTTOU: one worker is left, and stays")
        assert alive(first)
        assert len(_pids(running, 2)) == 2


def test_a_reload_returns_to_the_number_in_the_settings(log: Path) -> None:
    with fake("leaving", log, popen={"start_new_session": True}) as running:
        running.said("serves on")
        for count in (2, 3):
            running.send(signal.SIGTTIN)
            running.said("is ready", count - 1)
        old = _pids(running, 3)
        running.send(signal.SIGHUP)
        running.said("Reloaded in")
        eventually(lambda: not any(map(alive, old)), "the end of the old")
        assert len(_pids(running, 4)) == 4


def test_a_reload_that_fails_keeps_the_worker_that_was_added(log: Path, tmp_path: Path) -> None:
    popen = {"env": {"FAKE_MARK": str(tmp_path / "mark")}, "start_new_session": True}
    with fake("third_fails", log, popen=popen) as running:
        running.said("serves on")
        running.send(signal.SIGTTIN)
        running.said("is ready after")
        added = _pids(running, 2)[1]
        running.send(signal.SIGHUP)
        running.said("The reload failed")
        os.kill(added, signal.SIGKILL)
        running.said(rf"Worker {added} was killed by SIGKILL .*; another one is started")
        _pids(running, 4)  # the two, the successor that failed, and whoever takes the place of the killed one


def test_a_worker_more_that_cannot_start_does_not_end_the_server(log: Path, tmp_path: Path) -> None:
    popen = {"env": {"FAKE_MARK": str(tmp_path / "mark")}, "start_new_session": True}
    with fake("second_fails", log, popen=popen) as running:
        running.said("serves on")
        running.send(signal.SIGTTIN)
        running.said(r"ended with exit code 3 .*; another one is started", 2)
        assert running.process.poll() is None


# -- Recycling


def test_a_worker_that_has_served_enough_is_replaced_and_the_replacement_comes_first(log: Path) -> None:
    with fake("busy", log, max_requests=50, RECYCLE_INTERVAL=0.05) as running:
        running.said("serves on")
        running.said(r"Worker \d+ has served 100 requests \(max_requests\) and is replaced")
        old, new = _pids(running, 2)[:2]
        running.said(rf"order {old} l")
        running.said(rf"Worker {new} serves in its place after")
        assert running.log.index(f"Worker {new} is ready") < running.log.index(f"order {old} l")


def test_one_worker_is_replaced_at_a_time(log: Path) -> None:
    with fake("busy", log, workers=3, max_worker_age=0.2, RECYCLE_INTERVAL=0.02) as running:
        running.said("serves in its place", 3)
        steps = running.said(r"(and is replaced|serves in its place)", 6)
        assert steps[:6] == ["and is replaced", "serves in its place"] * 3


def test_a_replacement_that_fails_spares_the_old_worker_for_a_while(log: Path, tmp_path: Path) -> None:
    mark = {"env": {"FAKE_MARK": str(tmp_path / "mark")}}
    with fake("second_fails", log, max_worker_age=0.05, RECYCLE_INTERVAL=0.02, popen=mark) as running:
        running.said(r"A worker could not be replaced: worker \d+, .* ended; the old one goes on")
        time.sleep(0.2)
        assert len(_pids(running, 2)) == 2
        assert running.process.poll() is None


@linux
def test_a_worker_that_has_grown_is_replaced(log: Path) -> None:
    with fake("leaving", log, max_worker_memory=1024 * 1024, RECYCLE_INTERVAL=0.05) as running:
        running.said(r"Worker \d+ has grown to \d+ MiB \(max_worker_memory\) and is replaced")


# -- Hanging


@linux
def test_a_worker_that_hangs_shows_its_stack_and_is_replaced(log: Path) -> None:
    with fake("hanging", log, worker_timeout=0.3) as running:
        (pid,) = running.said(r"Worker (\d+) hangs: its event loop has not turned for 300 ms \(worker_timeout\)")
        running.said(
            rf"Worker {pid} was ended by our SIGABRT for hanging after .*, with 2 requests in flight; another"
        )
        assert len(_pids(running, 2)) == 2
        assert "hangs" in running.log
        assert running.log.count("hangs:") == 1  # the next one has its pause, if it hangs as well


@linux
def test_a_stopped_worker_that_cannot_even_abort_is_killed(log: Path) -> None:
    with fake("hanging", log, worker_timeout=0.5, ABORT_PATIENCE=0.2) as running:
        (pid,) = _pids(running, 1)
        os.kill(pid, signal.SIGSTOP)
        running.said(rf"Worker {pid} hangs")
        running.said(rf"Worker {pid} was ended by our SIGKILL for hanging")


def test_hanging_workers_are_ended_one_at_a_time(log: Path) -> None:
    with fake("hanging", log, workers=3, worker_timeout=0.2) as running:
        running.said("another one is started")
        time.sleep(0.6)
        assert running.log.count("hangs:") == 1


def test_a_worker_under_a_debugger_is_left_alone(log: Path) -> None:
    with fake("debugged", log, worker_timeout=0.1) as running:
        running.said("serves on")
        time.sleep(0.5)
        assert "hangs" not in running.log
        assert len(_pids(running, 1)) == 1


def test_nobody_is_ended_for_hanging_without_the_limit(log: Path) -> None:
    with fake("hanging", log, worker_timeout=0.0) as running:
        running.said("serves on")
        time.sleep(0.3)
        assert "hangs" not in running.log


@linux
def test_after_a_stop_of_the_supervisor_no_worker_is_held_to_hang(log: Path) -> None:
    with fake("hanging", log, worker_timeout=0.4, LATE=0.2, workers=2) as running:
        running.said("All 2 workers are ready")
        running.send(signal.SIGSTOP)
        time.sleep(1.0)
        running.send(signal.SIGCONT)
        time.sleep(0.2)
        assert "hangs" not in running.log
        running.said("hangs:")  # the whole time later


# -- The other signals


def test_workers_are_told_to_reopen_and_to_dump(log: Path) -> None:
    with fake("leaving", log, workers=2) as running:
        running.said("All 2 workers are ready")
        running.send(signal.SIGUSR1)
        running.said(r"order \d+ o", 2)
        running.said("SIGUSR1: the log files have been opened anew")
        running.send(signal.SIGUSR2)
        running.said(r"order \d+ d", 2)
        running.said("SIGUSR2: the stacks of all workers follow")


def test_a_crash_names_the_signal_and_the_requests_under_way(log: Path) -> None:
    with fake("busy", log) as running:
        running.said("serves on")
        (pid,) = _pids(running, 1)
        os.kill(pid, signal.SIGSEGV)
        running.said(
            rf"Worker {pid} crashed with SIGSEGV(, core dumped)? after .*, with 3 requests in flight; another"
        )
