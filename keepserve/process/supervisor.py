"""The supervisor: one thread, no event loop, never the application. It keeps workers running.

Everything happens in `Supervisor.run`: wait for a signal, a message, a changed file or the next deadline;
act; wait again. While nothing happens it sleeps in poll(2) without a timeout.

What it knows of its workers is in `keepserve.process.table`.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence

from keepserve.config import Settings, exitcodes
from keepserve.config.durations import format_duration
from keepserve.process.context import WorkerContext, WorkerEntry
from keepserve.process.exits import boot_failure_code, describe_exit, signal_name
from keepserve.process.fork import fork_child
from keepserve.process.orders import READY, Order
from keepserve.process.reload import Watcher
from keepserve.process.signals import SignalInbox
from keepserve.process.table import Slot, Stage, Step, Worker
from keepserve.process.terminal import Terminal
from keepserve.server.listening import display
from keepserve.telemetry.scoreboard import Scoreboard

logger = logging.getLogger("keepserve")

KILL_MARGIN = 2.0
"""Seconds past the settings' stop budget after which a worker that is still there is killed."""

HURRY_PATIENCE = 3.0
"""Seconds from the order to hurry (which leaves a worker one second) to the kill."""

RELOAD_PATIENCE = 1.0
"""Seconds running requests get under --reload before they are cancelled."""

REPEAT_INTERVAL = 0.5
"""Seconds within which further stop signals are the same wish, and do not hurry.

Wrappers pass on a signal that systemd or the terminal has already sent to all of their children.
"""

UNREAPED_PATIENCE = 5.0
"""Seconds from SIGKILL to giving up on a process the kernel does not let go of (uninterruptible sleep)."""


class Supervisor:
    """Forks ``settings.workers`` workers that run ``worker_entry``, and keeps that many running.

    The first worker has to become ready before the others are forked, so that an application that cannot
    start says so once. A worker that ends before its slot ever had a ready one ends the server
    (`exits.boot_failure_code`); one that ends later is replaced (`Backoff`). ``sockets`` are bound and
    closed by the caller, except that a stop closes them first: the port is free when the last worker is gone.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        sockets: Sequence[socket.socket] = (),
        ssl_context: ssl.SSLContext | None = None,
        worker_entry: WorkerEntry,
        watcher: Watcher | None = None,
    ) -> None:
        self._settings = settings
        self._sockets = list(sockets)
        self._addresses = ", ".join(display(sock, tls=ssl_context is not None) for sock in sockets)
        self._ssl_context = ssl_context
        self._entry = worker_entry
        self._watcher = watcher
        self._slots = [Slot(index) for index in range(settings.workers)]
        self._workers: dict[int, Worker] = {}
        self._board = Scoreboard()
        self._selector = selectors.PollSelector()  # holds no descriptor that a child would share
        self._inbox: SignalInbox
        self._terminal = Terminal()
        self._stage = Stage.RUNNING
        self._last_stop_signal = 0.0
        self._exit_code = exitcodes.OK
        self._began = time.monotonic()

    def run(self) -> int:
        """Supervise until stopped; the exit code of the server. Main thread only."""
        with SignalInbox() as self._inbox:
            try:
                self._selector.register(self._inbox, selectors.EVENT_READ, self._on_signals)
                self._reap()  # children of the shell that became us by exec, which ended before we listened
                self._start_watching()
                self._slots[0].due = time.monotonic()
                while self._stage is Stage.RUNNING or self._workers:
                    self._run_due()
                    self._wait()
            finally:
                # Normally nobody is left. After an error of ours, nobody may be.
                for worker in self._workers.values():
                    os.kill(worker.pid, signal.SIGKILL)
                    os.waitpid(worker.pid, 0)
                if self._watcher is not None:
                    self._watcher.stop()
                self._selector.close()
        return self._exit_code

    # -- The loop

    def _wait(self) -> None:
        deadlines = [slot.due for slot in self._slots if slot.due is not None]
        deadlines += [worker.steps[0][0] for worker in self._workers.values() if worker.steps]
        timeout = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        if self._stage is not Stage.RUNNING and not self._workers:
            return
        for key, _ in self._selector.select(timeout):
            handle: Callable[[], None] = key.data
            handle()

    def _run_due(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.due is not None and slot.due <= now:
                slot.due = None
                self._start_worker(slot)
        for worker in list(self._workers.values()):
            while worker.steps and worker.steps[0][0] <= now:
                self._take_step(worker, worker.steps.popleft()[1])

    def _on_signals(self) -> None:
        received = self._inbox.read()
        # Stop signals first: with a signal to the whole group, a worker's end is no crash but part of the stop.
        for number in sorted(received, key=lambda number: number == signal.SIGCHLD):
            if number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
                self._on_stop_signal(number)
            elif number == signal.SIGHUP:
                self._on_hangup()
            elif number != signal.SIGCHLD:
                logger.info("%s has no meaning for keepserve; carrying on", signal_name(number))
        # Whatever woke us: a full pipe may have swallowed the byte of a SIGCHLD.
        self._reap()

    # -- Starting workers

    def _start_worker(self, slot: Slot) -> None:
        mine, theirs = socket.socketpair()
        mine.setblocking(False)
        seat = self._board.take()

        def run() -> int:
            self._isolate()
            mine.close()
            context = WorkerContext(self._settings, self._sockets, self._ssl_context, theirs, self._board, seat)
            return self._entry(context)

        try:
            pid = fork_child(run)
        except OSError as error:
            mine.close()
            delay = max(slot.backoff.after(0.0), 0.1)
            logger.error("No worker could be started (%s); next try in %s", error, format_duration(delay))
            slot.due = time.monotonic() + delay
            return
        finally:
            theirs.close()
        worker = Worker(pid, slot, mine, started=time.monotonic())
        self._workers[pid] = worker
        self._selector.register(mine, selectors.EVENT_READ, lambda: self._on_message(worker))

    def _isolate(self) -> None:
        """In a forked child: close everything that is the supervisor's alone.

        Above all its ends of the other workers' channels: a worker notices our death only when nobody else
        holds them.
        """
        self._inbox.close()
        for worker in self._workers.values():
            worker.channel.close()
        if self._watcher is not None:
            self._watcher.close()

    def _on_message(self, worker: Worker) -> None:
        if self._workers.get(worker.pid) is not worker:
            return  # reaped a moment ago, in the same round of the loop
        try:
            message = worker.channel.recv(64)
        except BlockingIOError:
            return
        except ConnectionResetError:
            message = b""
        if not message:
            # It ended, which SIGCHLD tells, or the application closed the descriptor.
            self._selector.unregister(worker.channel)
        elif READY in message and not worker.ready and not worker.retired:
            self._on_ready(worker)

    def _on_ready(self, worker: Worker) -> None:
        worker.ready = True
        took = format_duration(round(time.monotonic() - worker.started, 3))
        if worker.slot.proven:
            logger.info("Worker %d is ready after %s", worker.pid, took)
            return
        worker.slot.proven = True
        proven = sum(slot.proven for slot in self._slots)
        if proven == 1:
            where = f" on {self._addresses}" if self._addresses else ""
            logger.info("Ready after %s: worker %d serves%s", took, worker.pid, where)
            for slot in self._slots[1:]:
                slot.due = time.monotonic()
        elif proven == len(self._slots):
            total = format_duration(round(time.monotonic() - self._began, 3))
            logger.info("All %d workers are ready after %s", proven, total)

    # -- Ends of workers

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._workers:
                self._on_exit(self._workers[pid], status)
            elif self._watcher is not None and pid == self._watcher.pid:
                self._watcher.pid = 0
            else:
                # As PID 1 we are given the orphans of the whole container.
                logger.debug("Process %d, which is not a worker, %s", pid, describe_exit(status))

    def _on_exit(self, worker: Worker, status: int) -> None:
        if worker.channel.fileno() in self._selector.get_map():
            # "Ready" may have been its last word.
            self._on_message(worker)
        self._forget(worker)
        uptime = time.monotonic() - worker.started
        how = f"Worker {worker.pid} {describe_exit(status)} after {format_duration(round(uptime, 2))}"
        if worker.retired:
            self._on_wanted_exit(worker, status, how)
        elif not worker.slot.proven and not self._settings.reload:
            code = boot_failure_code(status)
            # A worker that chose its exit code has said why; one cause must not look like two errors.
            told = os.waitstatus_to_exitcode(status) == code
            level = logging.INFO if told else logging.ERROR
            logger.log(level, "%s, before it was ready; keepserve stops (exit code %d)", how, code)
            self._exit_code = code
            self._stop(Order.STOP_INTERACTIVE)
        elif self._settings.reload and os.waitstatus_to_exitcode(status) == exitcodes.APP:
            logger.error("%s; waiting for a change to its source", how)
        else:
            delay = worker.slot.backoff.after(uptime)
            when = f"in {format_duration(round(delay, 2))}" if delay else "now"
            level = logging.WARNING if status == 0 else logging.ERROR
            logger.log(level, "%s; another one is started %s", how, when)
            worker.slot.due = time.monotonic() + delay

    def _on_wanted_exit(self, worker: Worker, status: int, how: str) -> None:
        if self._stage is Stage.RUNNING:
            worker.slot.due = time.monotonic()
        # One that was not ready yet had no request to lose: SIGTERM simply ends it.
        elif status != 0 and worker.ready and self._stage is not Stage.KILLING:
            logger.warning("%s, while stopping", how)
            self._exit_code = self._exit_code or exitcodes.CRASH

    def _forget(self, worker: Worker) -> None:
        del self._workers[worker.pid]
        if worker.channel.fileno() in self._selector.get_map():
            self._selector.unregister(worker.channel)
        worker.channel.close()

    # -- Stopping

    def _on_stop_signal(self, number: int) -> None:
        now = time.monotonic()
        if self._stage is not Stage.RUNNING and now - self._last_stop_signal < REPEAT_INTERVAL:
            return
        self._last_stop_signal = now
        name = signal_name(number)
        if self._stage is Stage.RUNNING:
            budget = format_duration(self._settings.stop_budget)
            logger.info("%s: stopping gracefully, within %s; a second signal hurries", name, budget)
            self._stop(Order.STOP_INTERACTIVE if number == signal.SIGINT else Order.STOP)
        elif self._stage is Stage.STOPPING:
            logger.warning("%s again: running requests are cancelled; a third signal kills", name)
            self._stage = Stage.HURRYING
            for worker in self._workers.values():
                worker.steps = deque([(now, Step.HURRY), (now + HURRY_PATIENCE, Step.KILL)])
        else:
            logger.warning("%s once more: workers are killed", name)
            self._stage = Stage.KILLING
            for worker in self._workers.values():
                worker.steps = deque([(now, Step.KILL)])

    def _on_hangup(self) -> None:
        if self._terminal.hung_up():
            self._on_stop_signal(signal.SIGHUP)
        else:
            logger.info("SIGHUP: this version reloads by a restart; carrying on")

    def _stop(self, order: Order) -> None:
        self._stage = Stage.STOPPING
        # Before any worker is told: each empties the accept queue and closes, and the last copy to be closed
        # must be one whose owner has just looked.
        for sock in self._sockets:
            sock.close()
        if self._watcher is not None:
            self._stop_watching(self._watcher)
        for slot in self._slots:
            slot.due = None
        for worker in self._workers.values():
            self._retire(worker, order, [(self._settings.stop_budget + KILL_MARGIN, Step.KILL)])

    def _retire(self, worker: Worker, order: Order, steps: list[tuple[float, Step]]) -> None:
        """Tell a worker to end; ``steps`` are (seconds from now, what to do) if it has not by then."""
        now = time.monotonic()
        worker.retired = True
        worker.steps = deque((now + delay, step) for delay, step in steps)
        self._tell(worker, order)
        if not worker.ready:
            # It may be importing and not listening. SIGTERM and the order together are one stop, see worker.py.
            os.kill(worker.pid, signal.SIGTERM)

    def _tell(self, worker: Worker, order: Order) -> None:
        try:
            worker.channel.send(order)
        except OSError:
            pass  # it is gone; SIGCHLD follows

    def _take_step(self, worker: Worker, step: Step) -> None:
        if step is Step.HURRY:
            self._tell(worker, Order.HURRY)
        elif step is Step.KILL:
            if self._stage is not Stage.KILLING:
                logger.error("Worker %d has not ended in the time it had; it is killed", worker.pid)
            if self._stage is not Stage.RUNNING:
                self._exit_code = self._exit_code or exitcodes.CRASH
            os.kill(worker.pid, signal.SIGKILL)
            worker.steps.append((time.monotonic() + UNREAPED_PATIENCE, Step.FORGET))
        else:
            logger.error("Worker %d does not even end by SIGKILL; it is left to the system", worker.pid)
            self._forget(worker)
            if self._stage is Stage.RUNNING:
                worker.slot.due = time.monotonic()

    # -- Reloading

    def _start_watching(self) -> None:
        if self._watcher is not None:
            self._watcher.start(self._isolate_watcher)
            self._selector.register(self._watcher, selectors.EVENT_READ, self._on_change)
            logger.debug("Source files are watched by process %d", self._watcher.pid)

    def _isolate_watcher(self) -> None:
        self._inbox.close()
        for sock in self._sockets:
            sock.close()

    def _on_change(self) -> None:
        if self._watcher is None or self._watcher.fileno() < 0:
            return  # stopped a moment ago, in the same round of the loop
        changed = self._watcher.read()
        if changed is None:
            logger.error("The file watcher ended: changes are not seen any more; restart keepserve")
            self._stop_watching(self._watcher)
            return
        if not changed:
            return
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        logger.info("%s%s changed: starting again", os.path.relpath(changed[0]), more)
        for worker in self._workers.values():
            if not worker.retired:
                kill = RELOAD_PATIENCE + HURRY_PATIENCE
                self._retire(worker, Order.STOP_INTERACTIVE, [(RELOAD_PATIENCE, Step.HURRY), (kill, Step.KILL)])
        busy = {worker.slot.index for worker in self._workers.values()}
        for slot in self._slots:
            slot.backoff.reset()
            if slot.index not in busy:
                slot.due = time.monotonic()

    def _stop_watching(self, watcher: Watcher) -> None:
        if watcher.fileno() >= 0:
            self._selector.unregister(watcher)
        watcher.stop()
