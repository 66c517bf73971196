"""The supervisor: one thread, no event loop, never the application. It keeps workers running.

Everything happens in `Supervisor.run`: wait for a signal, a message, a changed file or the next deadline;
act; wait again. While nothing happens it sleeps in poll(2), for as long as ``worker_timeout`` allows.

What it knows of its workers is in `keepserve.process.table`, what it does to them in `workforce`, and what happens
to them while the server runs (reloads, recycling, hanging) in `upkeep`. Here are their beginning and their end.
"""

from __future__ import annotations

import logging
import math
import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence

from keepserve.config import exitcodes
from keepserve.config.durations import format_duration
from keepserve.process import memory
from keepserve.process.adminprocess import AdminProcess
from keepserve.process.context import Launch, Reread, WorkerEntry
from keepserve.process.exits import boot_failure_code, cause_of_exit, describe_exit, in_flight, signal_name
from keepserve.process.orders import Order
from keepserve.process.reload import Watcher
from keepserve.process.signals import SignalInbox
from keepserve.process.systemd import Notifier
from keepserve.process.table import Slot, Stage, Step, Worker
from keepserve.process.terminal import Terminal
from keepserve.process.upkeep import KILL_MARGIN, Upkeep
from keepserve.process.workforce import Workforce
from keepserve.server.listening import display
from keepserve.telemetry.reopen import reopen_logs
from keepserve.telemetry.scoreboard import STOP_BEGAN

logger = logging.getLogger("keepserve")

HURRY_PATIENCE = 3.0
"""Seconds from the order to hurry (which leaves a worker one second) to the kill."""

RELOAD_PATIENCE = 1.0
"""Seconds running requests get under --reload before they are cancelled."""

REPEAT_INTERVAL = 0.5
"""Seconds within which further stop signals are the same wish, and do not hurry.

Wrappers pass on a signal that systemd or the terminal has already sent to all of their children.
"""

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Supervisor:
    """Forks as many workers as ``launch`` says, which run ``worker_entry``, and keeps that many running.

    The first worker has to become ready before the others are forked, so that an application that cannot
    start says so once. A worker that ends before its slot ever had a ready one ends the server
    (`exits.boot_failure_code`); one that ends later is replaced (`Backoff`). ``sockets`` are bound and
    closed by the caller, except that a stop closes them first: the port is free when the last worker is gone.
    ``reread`` reads the settings again for a reload; without it a reload starts the same ones. ``admin_sockets``
    are those of the admin listener: bound, listening and closed by the caller.
    """

    def __init__(
        self,
        launch: Launch,
        *,
        sockets: Sequence[socket.socket] = (),
        worker_entry: WorkerEntry,
        admin_sockets: Sequence[socket.socket] = (),
        watcher: Watcher | None = None,
        reread: Reread | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        addresses = [display(sock, tls=launch.ssl_context is not None) for sock in sockets]
        self._addresses = ", ".join(addresses)
        self._watcher = watcher
        self._notifier = notifier if notifier is not None else Notifier({})
        self._slots = [Slot(index) for index in range(launch.settings.workers)]
        self._selector = selectors.PollSelector()  # holds no descriptor that a child would share
        self._workforce = Workforce(
            sockets, worker_entry, self._selector, isolate=self._isolate, on_ready=self._on_ready
        )
        self._upkeep = Upkeep(launch, self._slots, self._workforce, reread, self._notifier)
        self._admin = AdminProcess(admin_sockets, self._workforce.board, self._isolate_admin, listening=addresses)
        self._inbox: SignalInbox
        self._terminal = Terminal()
        self._stage = Stage.RUNNING
        self._last_stop_signal = 0.0
        self._exit_code = exitcodes.OK
        self._began = time.monotonic()
        self._oom_kills = memory.oom_kills()
        self._next_ping = 0.0 if self._notifier.watchdog_interval else math.inf

    def run(self) -> int:
        """Supervise until stopped; the exit code of the server. Main thread only."""
        with SignalInbox() as self._inbox:
            try:
                self._selector.register(self._inbox, selectors.EVENT_READ, self._on_signals)
                self._reap()  # children of the shell that became us by exec, which ended before we listened
                self._start_watching()
                self._slots[0].due = time.monotonic()
                while self._stage is Stage.RUNNING or self._workforce:
                    self._run_due()
                    self._wait()
            finally:
                self._workforce.end()
                self._admin.stop()
                if self._watcher is not None:
                    self._watcher.stop()
                self._selector.close()
        return self._exit_code

    # -- The loop

    def _wait(self) -> None:
        if self._stage is not Stage.RUNNING and not self._workforce:
            return
        due = min(
            self._upkeep.due,
            self._next_ping,
            self._admin.due,
            *(slot.due for slot in self._slots if slot.due is not None),
            *(worker.steps[0][0] for worker in self._workforce if worker.steps),
        )
        timeout = max(0.0, due - time.monotonic()) if due < math.inf else None
        for key, _ in self._selector.select(timeout):
            handle: Callable[[], None] = key.data
            handle()

    def _run_due(self) -> None:
        now = time.monotonic()
        if now >= self._next_ping:
            self._notifier.ping()
            self._next_ping = now + (self._notifier.watchdog_interval or math.inf)
        for slot in self._slots:
            if slot.due is not None and slot.due <= now:
                slot.due = None
                self._start_worker(slot)
        for worker in self._workforce:
            while worker.steps and worker.steps[0][0] <= now:
                self._take_step(worker, worker.steps.popleft()[1])
        if self._stage is Stage.RUNNING:
            self._upkeep.tick(now)
        self._admin.tick(now, self._upkeep.launch.settings)

    def _on_signals(self) -> None:
        received = self._inbox.read()
        # Stop signals first: with a signal to the whole group, a worker's end is no crash but part of the stop.
        for number in sorted(received, key=lambda number: number == signal.SIGCHLD):
            if number in _STOP_SIGNALS:
                self._on_stop_signal(number)
            elif number != signal.SIGCHLD:
                self._on_other_signal(number)
        # Whatever woke us: a full pipe may have swallowed the byte of a SIGCHLD.
        self._reap()

    def _on_other_signal(self, number: int) -> None:
        if number == signal.SIGHUP and self._terminal.hung_up():
            self._on_stop_signal(number)
        elif self._stage is not Stage.RUNNING:
            logger.info("%s: not while stopping", signal_name(number))
        elif number == signal.SIGHUP:
            self._upkeep.want_reload()
        elif number in (signal.SIGTTIN, signal.SIGTTOU):
            if self._terminal.in_background():
                logger.info("%s: ignored, the terminal sends it to jobs in the background", signal_name(number))
            else:
                self._upkeep.resize(1 if number == signal.SIGTTIN else -1)
        elif number == signal.SIGUSR1:
            self._reopen_logs()
        elif number == signal.SIGUSR2:
            logger.info("SIGUSR2: the stacks of all workers follow, their threads' on standard error")
            for worker in self._workforce:
                self._workforce.tell(worker, Order.DUMP)
                self._workforce.signal(worker, signal.SIGUSR2)  # heard also while its loop is blocked

    def _reopen_logs(self) -> None:
        reopen_logs(self._upkeep.launch.settings)
        logger.info("SIGUSR1: the log files have been opened anew")
        for worker in self._workforce:
            self._workforce.tell(worker, Order.REOPEN)

    # -- Starting workers

    def _start_worker(self, slot: Slot) -> None:
        try:
            slot.worker = self._workforce.start(slot, self._upkeep.launch)
        except (OSError, RuntimeError) as error:
            delay = max(slot.backoff.after(0.0), 0.1)
            logger.error("No worker could be started (%s); next try in %s", error, format_duration(delay))
            slot.due = time.monotonic() + delay

    def _isolate(self) -> None:
        """In a forked child: close everything that is the supervisor's alone."""
        self._inbox.close()
        self._admin.close()
        if self._watcher is not None:
            self._watcher.close()

    def _isolate_admin(self) -> None:
        """The same in the admin listener's process, which is to keep no port open and no worker from noticing."""
        self._inbox.close()
        if self._watcher is not None:
            self._watcher.close()
        self._workforce.abandon()

    def _on_ready(self, worker: Worker) -> None:
        now = time.monotonic()
        self._upkeep.ready(worker, now)
        took = format_duration(round(now - worker.started, 3))
        if worker.slot.proven:
            logger.info("Worker %d is ready after %s", worker.pid, took)
            return
        worker.slot.proven = True
        proven = sum(slot.proven for slot in self._slots)
        if proven == 1:
            where = f" on {self._addresses}" if self._addresses else ""
            logger.info("Ready after %s: worker %d serves%s", took, worker.pid, where)
            self._notifier.ready(f"serving{where}")
            for slot in self._slots[1:]:
                slot.due = now
        elif proven == len(self._slots):
            total = format_duration(round(now - self._began, 3))
            logger.info("All %d workers are ready after %s", proven, total)

    # -- Ends of workers

    def _reap(self) -> None:
        for pid, status in self._workforce.reap():
            if pid in self._workforce.by_pid:
                self._on_exit(self._workforce.by_pid[pid], status)
            elif self._watcher is not None and pid == self._watcher.pid:
                self._watcher.pid = 0
            elif pid == self._admin.pid:
                self._admin.ended(status, time.monotonic())
            else:
                # As PID 1 we are given the orphans of the whole container.
                logger.debug("Process %d, which is not a worker, %s", pid, describe_exit(status))

    def _on_exit(self, worker: Worker, status: int) -> None:
        self._workforce.listen(worker)  # "ready" may have been its last word
        how = self._describe_end(worker, status)
        slot, had_its_place = worker.slot, worker.slot.worker is worker
        self._workforce.forget(worker)
        now = time.monotonic()
        taken_care_of = self._upkeep.ended(worker, now)
        if worker.retired:
            self._on_wanted_exit(worker, status, how)
        elif not slot.proven and not worker.launch.settings.reload:
            code = boot_failure_code(status)
            # A worker that chose its exit code has said why; one cause must not look like two errors.
            told = os.waitstatus_to_exitcode(status) == code
            level = logging.INFO if told else logging.ERROR
            logger.log(level, "%s, before it was ready; keepserve stops (exit code %d)", how, code)
            self._exit_code = code
            self._stop(Order.STOP_INTERACTIVE)
        elif taken_care_of or not had_its_place or slot.successor is not None:
            logger.error("%s", how)  # its place is taken, or is about to be
        elif worker.launch.settings.reload and os.waitstatus_to_exitcode(status) == exitcodes.APP:
            logger.error("%s; waiting for a change to its source", how)
        else:
            delay = slot.backoff.after(now - worker.started)
            when = f"in {format_duration(round(delay, 2))}" if delay else "now"
            level = logging.WARNING if status == 0 else logging.ERROR
            logger.log(level, "%s; another one is started %s", how, when)
            slot.due = now + delay

    def _describe_end(self, worker: Worker, status: int) -> str:
        oom = memory.oom_kills()
        killed = oom > self._oom_kills
        self._oom_kills = oom
        uptime = format_duration(round(time.monotonic() - worker.started, 2))
        by_us = bool(worker.end) and os.WIFSIGNALED(status)
        if worker.ready and not worker.retired:
            self._workforce.board.restarted(cause_of_exit(status, oom=killed, by_us=by_us))
        said = describe_exit(status, oom=killed, by_us=by_us)
        why = f" {worker.end}" if worker.end else ""
        return f"Worker {worker.pid} {said}{why} after {uptime}{in_flight(worker.in_flight)}"

    def _on_wanted_exit(self, worker: Worker, status: int, how: str) -> None:
        slot = worker.slot
        if self._stage is Stage.RUNNING:
            if status != 0 and worker.ready:
                logger.warning("%s, while leaving", how)
            if slot in self._slots and slot.worker is None and slot.successor is None and slot.due is None:
                slot.due = time.monotonic()
        # One that was not ready yet had no request to lose: SIGTERM simply ends it.
        elif status != 0 and worker.ready and self._stage is not Stage.KILLING:
            logger.warning("%s, while stopping", how)
            self._exit_code = self._exit_code or exitcodes.CRASH

    # -- Stopping

    def _on_stop_signal(self, number: int) -> None:
        now = time.monotonic()
        if self._stage is not Stage.RUNNING and now - self._last_stop_signal < REPEAT_INTERVAL:
            return
        self._last_stop_signal = now
        name = signal_name(number)
        if self._stage is Stage.RUNNING:
            budget = format_duration(self._longest_stop())
            logger.info("%s: stopping gracefully, within %s; a second signal hurries", name, budget)
            self._stop(Order.STOP_INTERACTIVE if number == signal.SIGINT else Order.STOP)
        elif self._stage is Stage.STOPPING:
            logger.warning("%s again: running requests are cancelled; a third signal kills", name)
            self._stage = Stage.HURRYING
            for worker in self._workforce:
                worker.steps = deque([(now, Step.HURRY), (now + HURRY_PATIENCE, Step.KILL)])
        else:
            logger.warning("%s once more: workers are killed", name)
            self._stage = Stage.KILLING
            for worker in self._workforce:
                worker.steps = deque([(now, Step.KILL)])

    def _longest_stop(self) -> float:
        return max((worker.launch.settings.stop_budget for worker in self._workforce), default=0.0)

    def _stop(self, order: Order) -> None:
        self._stage = Stage.STOPPING
        self._notifier.stopping("stopping")
        self._upkeep.stop()
        self._workforce.board.common[STOP_BEGAN] = time.monotonic_ns()
        # Before any worker is told: each empties the accept queue and closes, and the last copy to be closed
        # must be one whose owner has just looked.
        self._workforce.close_sockets()
        if self._watcher is not None:
            self._stop_watching(self._watcher)
        for slot in self._slots:
            slot.due = None
        for worker in self._workforce:
            budget = worker.launch.settings.stop_budget
            self._workforce.retire(worker, order, [(budget + KILL_MARGIN, Step.KILL)])

    def _take_step(self, worker: Worker, step: Step) -> None:
        if step is Step.HURRY:
            self._workforce.tell(worker, Order.HURRY)
        elif step is Step.KILL:
            if self._stage is not Stage.KILLING:
                logger.error("Worker %d has not ended in the time it had; it is killed", worker.pid)
            if self._stage is not Stage.RUNNING:
                self._exit_code = self._exit_code or exitcodes.CRASH
            self._workforce.kill(worker)
        else:
            logger.error("Worker %d does not even end by SIGKILL; it is left to the system", worker.pid)
            slot, had_its_place = worker.slot, worker.slot.worker is worker
            self._workforce.forget(worker)
            if self._stage is Stage.RUNNING and had_its_place and slot in self._slots:
                slot.due = time.monotonic()

    # -- Reloading

    def _start_watching(self) -> None:
        if self._watcher is not None:
            self._watcher.start(self._isolate_watcher)
            self._selector.register(self._watcher, selectors.EVENT_READ, self._on_change)
            logger.debug("Source files are watched by process %d", self._watcher.pid)

    def _isolate_watcher(self) -> None:
        self._inbox.close()
        self._admin.close()
        self._workforce.close_sockets()

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
        for worker in self._workforce:
            if not worker.retired:
                kill = RELOAD_PATIENCE + HURRY_PATIENCE
                steps = [(RELOAD_PATIENCE, Step.HURRY), (kill, Step.KILL)]
                self._workforce.retire(worker, Order.LEAVE_AT_ONCE, steps)
        busy = {worker.slot.index for worker in self._workforce}
        for slot in self._slots:
            slot.backoff.reset()
            if slot.index not in busy:
                slot.due = time.monotonic()

    def _stop_watching(self, watcher: Watcher) -> None:
        if watcher.fileno() >= 0:
            self._selector.unregister(watcher)
        watcher.stop()
