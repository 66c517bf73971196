"""The supervisor with workers that are no servers: starting, replacing, stopping, dying."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import socket
import termios
import time
from pathlib import Path
from typing import Any

import pytest

from tests.process.running import Running, alive, can_bind, eventually, fake, linux
from tests.support.programs import free_port

UP = r"(?m)^up (\d+) "
NO_TIME: dict[str, Any] = {"drain_timeout": 0.0, "drain_cancel": 0.0, "shutdown_timeout": 0.0, "drain_idle": 0.0}


def _pids(running: Running, times: int) -> list[int]:
    return [int(pid) for pid in running.said(UP, times)]


def _up_at(running: Running, pid: int) -> float:
    return float(running.said(rf"(?m)^up {pid} ([\d.]+)$")[0])


# -- Starting


def test_it_starts_as_many_workers_as_asked_for_and_ends_with_0(log: Path) -> None:
    with fake("obedient", log, workers=3) as running:
        assert int(running.said(r"address +http://127\.0\.0\.1:(\d+)")[0]) > 0
        assert len(set(_pids(running, 3))) == 3
        running.said("All 3 workers are ready")
        running.send(signal.SIGTERM)
        assert running.ended() == 0
        assert len(running.said(r"order \d+ s")) == 3


def test_the_others_wait_for_the_first_worker_to_be_ready(log: Path) -> None:
    port = free_port()
    with fake("late", log, workers=3, port=port) as running:
        _pids(running, 1)
        time.sleep(0.1)  # for those that should not come
        assert len(_pids(running, 1)) == 1
        socket.create_connection(("127.0.0.1", port)).close()
        _pids(running, 3)


@pytest.mark.parametrize(("worker", "server"), [(2, 2), (4, 4), (1, 3)])
def test_a_failed_first_start_is_told_once_and_gives_the_exit_code(log: Path, worker: int, server: int) -> None:
    with fake("exits", log, workers=3, popen={"env": {"FAKE_EXIT_CODE": str(worker)}}) as running:
        assert running.ended() == server
        assert len(_pids(running, 1)) == 1
        running.said(f"ended with exit code {worker}.* before it was ready")


def test_a_crash_during_the_first_start_is_the_applications_failure(log: Path) -> None:
    with fake("crashes", log) as running:
        assert running.ended() == 3
        running.said("crashed with SIGSEGV")


def test_when_a_later_worker_cannot_start_the_first_is_stopped_gracefully(log: Path, tmp_path: Path) -> None:
    with fake("fails_second", log, workers=2, popen={"env": {"FAKE_MARK": str(tmp_path / "mark")}}) as running:
        assert running.ended() == 3
        first = _pids(running, 2)[0]
        running.said(f"order {first} i")


def test_a_taken_port_ends_with_4_and_one_sentence(log: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with fake("obedient", log, port=port) as running:
            assert running.ended() == 4
        assert running.log.startswith(f"keepserve: 127.0.0.1:{port} is taken: ")
        assert running.log.count("\n") == 1


@linux
def test_a_port_is_taken_while_its_server_is_still_starting(log: Path, tmp_path: Path) -> None:
    port = free_port()
    with fake("importing", log, port=port) as first:
        _pids(first, 1)
        with fake("obedient", tmp_path / "second", port=port) as second:
            assert second.ended() == 4


def test_a_bad_certificate_ends_with_2_before_anything_is_bound(log: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with fake("obedient", log, port=port, ssl_certfile="/nowhere.pem") as running:
            assert running.ended() == 2
        assert running.log == "keepserve: --ssl-certfile /nowhere.pem cannot be read: No such file or directory.\n"


# -- Replacing


def test_a_killed_worker_is_replaced_at_once_and_told_of(log: Path) -> None:
    with fake("obedient", log, workers=4) as running:
        running.said("All 4 workers are ready")
        delays = []
        for count, pid in enumerate(_pids(running, 4), start=5):
            killed = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            successor = _pids(running, count)[-1]
            delays.append(_up_at(running, successor) - killed)
            running.said(rf"Worker {pid} was killed by SIGKILL .*; another one is started now")
            running.said(rf"Worker {successor} is ready")
        # The bar is 100 ms; a busy machine may miss it once.
        assert min(delays) < 0.1
        assert max(delays) < 1.0


def test_a_worker_that_keeps_crashing_is_replaced_more_and_more_slowly(log: Path) -> None:
    with fake("obedient", log) as running:
        times = []
        for count in range(1, 5):
            pid = _pids(running, count)[-1]
            times.append(_up_at(running, pid))
            running.said("is ready|serves on", count)
            os.kill(pid, signal.SIGSEGV)
        delays = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert delays[1] >= 0.05
        assert delays[2] >= 0.1
        running.said(r"another one is started in (?:50|[6-9]\d|100) ms|another one is started in 0\.0\d s")


@linux
def test_while_idle_it_has_one_thread_and_does_not_wake_up(log: Path) -> None:
    def wakeups() -> str:
        status = Path(f"/proc/{running.pid}/status").read_text()
        return next(line for line in status.splitlines() if line.startswith("voluntary_ctxt"))

    with fake("obedient", log, workers=2) as running:
        running.said("All 2 workers are ready")
        eventually(lambda: "S (sleeping)" in Path(f"/proc/{running.pid}/status").read_text(), "sleep")
        assert "Threads:\t1\n" in Path(f"/proc/{running.pid}/status").read_text()
        before = wakeups()
        time.sleep(0.4)
        assert wakeups() == before


@linux
def test_workers_hold_nothing_of_the_supervisors_and_may_hold_many_connections(log: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))

    with fake("descriptors", log, workers=3, popen={"preexec_fn": lower}) as running:
        assert int(running.said(r"limit (\d+)")[0]) == (65536 if hard == resource.RLIM_INFINITY else min(hard, 65536))
        assert running.said(r"stray \d+ (.*)", 3) == ["[]"] * 3
        # A replacement is forked while the other channels are open.
        os.kill(_pids(running, 3)[0], signal.SIGKILL)
        assert running.said(r"stray \d+ (.*)", 4) == ["[]"] * 4


# -- The supervisor's own end


def test_workers_end_when_the_supervisor_is_killed(log: Path) -> None:
    port = free_port()
    with fake("listening", log, workers=2, port=port) as running:
        running.said("All 2 workers are ready")
        running.process.kill()
        running.ended()
        eventually(lambda: not any(map(alive, _pids(running, 2))), "end of the workers")
        assert can_bind(port)


def test_workers_that_miss_the_signal_end_by_the_closed_channel(log: Path) -> None:
    with fake("stubborn", log, workers=2) as running:
        running.said("All 2 workers are ready")
        running.process.kill()
        assert len(running.said(r"order \d+ EOF", 2, by_orphans=True)) == 2
        eventually(lambda: not any(map(alive, _pids(running, 2))), "end of the workers")


@linux
def test_a_worker_that_is_still_importing_ends_with_the_supervisor(log: Path) -> None:
    with fake("importing", log) as running:
        (pid,) = _pids(running, 1)
        running.process.kill()
        eventually(lambda: not alive(pid), "end of the worker")


# -- Stopping


def test_ctrl_c_to_the_whole_group_reaches_workers_once(log: Path) -> None:
    with fake("hurrying", log, workers=2, popen={"start_new_session": True}) as running:
        running.said("All 2 workers are ready")
        os.killpg(running.pid, signal.SIGINT)
        assert sorted(running.said(r"order \d+ (\w)", 2)) == ["i", "i"]
        running.send(signal.SIGTERM)  # within half a second: passed on by a wrapper, not meant as a second one
        time.sleep(0.1)
        assert len(running.said(r"order \d+ \w", 2)) == 2


def test_a_second_signal_hurries(log: Path) -> None:
    with fake("hurrying", log, REPEAT_INTERVAL=0.0) as running:
        running.said("serves on")
        running.send(signal.SIGTERM)
        running.said(r"order \d+ s")
        running.send(signal.SIGTERM)
        assert running.ended() == 0
        running.said(r"order \d+ h")


def test_a_third_signal_ends_at_once(log: Path) -> None:
    with fake("stubborn", log, workers=2, REPEAT_INTERVAL=0.0) as running:
        running.said("All 2 workers are ready")
        for order in ("s", "h"):
            running.send(signal.SIGTERM)
            running.said(rf"order \d+ {order}", 2)
        running.send(signal.SIGTERM)
        assert running.ended(patience=2) == 1
        assert not any(map(alive, _pids(running, 2)))


def test_a_worker_that_outlives_its_time_is_killed_and_told_of(log: Path) -> None:
    with fake("stubborn", log, KILL_MARGIN=0.2, **NO_TIME) as running:
        running.said("serves on")
        running.send(signal.SIGTERM)
        assert running.ended() == 1
        running.said(r"Worker \d+ has not ended in the time it had; it is killed")


def test_a_worker_that_does_not_hurry_is_killed(log: Path) -> None:
    with fake("stubborn", log, REPEAT_INTERVAL=0.0, HURRY_PATIENCE=0.2) as running:
        running.said("serves on")
        for order in ("s", "h"):
            running.send(signal.SIGTERM)
            running.said(rf"order \d+ {order}")
        assert running.ended() == 1


def test_sigterm_during_startup_ends_promptly_with_0(log: Path) -> None:
    with fake("importing", log, workers=2) as running:
        _pids(running, 1)
        running.send(signal.SIGTERM)
        assert running.ended(patience=2) == 0


def test_sigterm_while_a_replacement_is_due_ends_promptly(log: Path) -> None:
    with fake("obedient", log) as running:
        running.said("serves on")
        for count in range(1, 4):
            os.kill(_pids(running, count)[-1], signal.SIGKILL)
            running.said("another one is started", count)
        running.send(signal.SIGTERM)
        assert running.ended(patience=2) == 0


def test_the_supervisor_closes_its_listening_sockets_before_it_tells_workers_to_stop(log: Path) -> None:
    with fake("listening", log) as running:
        running.said("serves on")
        running.send(signal.SIGTERM)
        assert running.ended() == 0
        running.said("refused")


def test_a_unix_socket_is_removed_at_the_stop(log: Path, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with fake("obedient", log, uds=str(path)) as running:
        running.said(f"serves on unix:{path}")
        assert path.is_socket()
        running.send(signal.SIGTERM)
        assert running.ended() == 0
        assert not path.exists()


# -- Other signals, other children, odd surroundings


def test_sigquit_stops_it(log: Path) -> None:
    with fake("obedient", log, popen={"start_new_session": True}) as running:
        running.said("serves on")
        running.send(signal.SIGQUIT)
        assert running.ended() == 0


def test_signals_that_only_mean_something_while_it_runs_are_told_and_survived(log: Path) -> None:
    with fake("stubborn", log, REPEAT_INTERVAL=0.0, HURRY_PATIENCE=0.1) as running:
        running.said("serves on")
        running.send(signal.SIGTERM)
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU):
            running.send(number)
            running.said(f"{number.name}: not while stopping")


def test_a_reload_that_a_stop_overtakes_is_told_to_be_off(log: Path) -> None:
    with fake("importing", log) as running:
        running.said(r"up \d+")
        running.send(signal.SIGHUP)
        running.said("once the start or replacement under way is done")
        running.send(signal.SIGTERM)
        running.said("SIGHUP: not while stopping")
        assert running.ended() == 0


@linux
def test_a_hangup_of_its_terminal_stops_it(log: Path) -> None:
    master, terminal = os.openpty()

    def adopt_terminal() -> None:
        import fcntl

        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    with fake("obedient", log, popen={"start_new_session": True, "preexec_fn": adopt_terminal}) as running:
        os.close(terminal)
        running.said("serves on")
        os.close(master)
        assert running.ended() == 0
        running.said("SIGHUP: stopping")


@linux
def test_an_unknown_child_is_reaped(log: Path) -> None:
    with fake("obedient", log, before="stranger", log_level="debug") as running:
        (stranger,) = running.said(r"stranger (\d+)")
        running.said(rf"Process {stranger}, which is not a worker, ended with exit code 9")
        assert not Path(f"/proc/{stranger}").exists()


def test_closed_standard_streams_are_no_obstacle(log: Path, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"

    def close_streams() -> None:
        for fd in (0, 1, 2):
            os.close(fd)

    with fake("listening", log, uds=str(path), popen={"preexec_fn": close_streams}) as running:
        # It cannot say anything; that the path is there and it ends well is all there is to see.
        eventually(lambda: path.is_socket() and _accepts(path), "a listening worker")
        running.send(signal.SIGTERM)
        assert running.ended() == 0


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0
