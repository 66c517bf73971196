"""The worker processes: forking them, talking to them, ending them, and noticing that they have ended.

What is to be done, and when, is decided by `keepserve.process.supervisor`; here it is done.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from keepserve.process.context import Launch, WorkerContext, WorkerEntry
from keepserve.process.fork import fork_child
from keepserve.process.orders import READY, Order
from keepserve.process.recycling import draw_lifetime
from keepserve.process.respawn import random_fraction
from keepserve.process.table import Slot, Step, Worker
from keepserve.telemetry.scoreboard import CERTIFICATE_EXPIRES, PID, Scoreboard

logger = logging.getLogger("keepserve")

UNREAPED_PATIENCE = 5.0
"""Seconds from SIGKILL to giving up on a process the kernel does not let go of (uninterruptible sleep)."""


class Workforce:
    """All workers there are, by pid. ``isolate`` is called in each child to close what is the supervisor's alone."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        entry: WorkerEntry,
        selector: selectors.BaseSelector,
        *,
        isolate: Callable[[], None],
        on_ready: Callable[[Worker], None],
    ) -> None:
        self.by_pid: dict[int, Worker] = {}
        self.board = Scoreboard()
        self._sockets = list(sockets)
        self._entry = entry
        self._selector = selector
        self._isolate = isolate
        self._on_ready = on_ready

    def __iter__(self) -> Iterator[Worker]:
        return iter(list(self.by_pid.values()))

    def __bool__(self) -> bool:
        return bool(self.by_pid)

    # -- Beginning

    def start(self, slot: Slot, launch: Launch) -> Worker:
        """Fork a worker for a slot. Raises OSError when the system refuses another process."""
        mine, theirs = socket.socketpair()
        mine.setblocking(False)
        number = self.board.take()

        def run() -> int:
            self._isolate()
            mine.close()
            self._close_channels()
            launch.enter()
            self.board.seat(number)[PID] = os.getpid()
            return self._entry(WorkerContext(launch, self._sockets, theirs, self.board, number))

        try:
            pid = fork_child(run)
        except OSError:
            mine.close()
            self.board.free(number)
            raise
        finally:
            theirs.close()
        worker = Worker(
            pid=pid,
            slot=slot,
            channel=mine,
            started=time.monotonic(),
            launch=launch,
            seat_number=number,
            seat=self.board.seat(number),
            lifetime=draw_lifetime(launch.settings, random_fraction()),
        )
        self.by_pid[pid] = worker
        self._selector.register(mine, selectors.EVENT_READ, lambda: self.listen(worker))
        return worker

    def note(self, launch: Launch) -> None:
        """Write down what new workers serve with."""
        self.board.common[CERTIFICATE_EXPIRES] = int(getattr(launch.ssl_context, "valid_until", None) or 0)

    def listen(self, worker: Worker) -> None:
        """Take what a worker has said."""
        if self.by_pid.get(worker.pid) is not worker or worker.channel.fileno() not in self._selector.get_map():
            return  # reaped a moment ago, in the same round of the loop; or it has said its last word
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
            worker.ready = True
            self._on_ready(worker)

    def _close_channels(self) -> None:
        # Our ends: a worker notices the supervisor's death only when nobody else holds them.
        for worker in self:
            worker.channel.close()

    # -- Ending

    def abandon(self) -> None:
        """In a forked child that is no worker: close all that is the workers' and ours."""
        self._close_channels()
        self.close_sockets()

    def close_sockets(self) -> None:
        """Close our copies of the listening sockets."""
        for sock in self._sockets:
            sock.close()

    def retire(self, worker: Worker, order: Order, steps: Sequence[tuple[float, Step]]) -> None:
        """Tell a worker to end; ``steps`` are (seconds from now, what to do) if it has not by then."""
        now = time.monotonic()
        worker.retired = True
        worker.steps = deque((now + delay, step) for delay, step in steps)
        self.tell(worker, order)
        if not worker.ready:
            # It may be importing and not listening. SIGTERM and the order together are one stop, see worker.py.
            self.signal(worker, signal.SIGTERM)

    def tell(self, worker: Worker, order: Order) -> None:
        """Give an order."""
        try:
            worker.channel.send(order)
        except OSError:
            pass  # it is gone; SIGCHLD follows

    def signal(self, worker: Worker, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(worker.pid, number)  # until we have reaped it, the pid is its own

    def kill(self, worker: Worker) -> None:
        """End a worker at once."""
        self.signal(worker, signal.SIGKILL)
        worker.steps.append((time.monotonic() + UNREAPED_PATIENCE, Step.FORGET))

    def reap(self) -> Iterator[tuple[int, int]]:
        """Processes that have ended: pid and status. As PID 1 we are given the orphans of the whole container."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            yield pid, status

    def forget(self, worker: Worker) -> None:
        """Strike a worker off the list."""
        del self.by_pid[worker.pid]
        if worker.channel.fileno() in self._selector.get_map():
            self._selector.unregister(worker.channel)
        worker.channel.close()
        self.board.free(worker.seat_number)
        slot = worker.slot
        if slot.worker is worker:
            slot.worker = None
        if slot.successor is worker:
            slot.successor = None

    def end(self) -> None:
        """Kill whoever is left, and wait. Normally nobody is; after an error of ours, nobody may be."""
        for worker in self:
            os.kill(worker.pid, signal.SIGKILL)
            os.waitpid(worker.pid, 0)
