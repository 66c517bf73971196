"""What happens to workers while the server runs: reloads, recycling, more or fewer of them, hanging ones.

One replacement (`keepserve.process.rolling.Roll`) at a time, whatever it is for.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from collections import deque

from keepserve.config import ConfigError
from keepserve.config.durations import format_duration
from keepserve.process import memory
from keepserve.process.context import Launch, Reread
from keepserve.process.exits import in_flight
from keepserve.process.generations import keep_what_is_bound
from keepserve.process.orders import Order
from keepserve.process.rolling import Roll
from keepserve.process.systemd import Notifier
from keepserve.process.table import Slot, Step, Worker
from keepserve.process.watchdog import Watchdog
from keepserve.process.workforce import Workforce
from keepserve.telemetry.logs import configure_logging
from keepserve.telemetry.scoreboard import BEAT, DEBUGGED, RELOADS, RELOADS_FAILED, REQUESTS

logger = logging.getLogger("keepserve")

KILL_MARGIN = 2.0
"""Seconds past the settings' budget after which a worker that is still there is killed."""

ABORT_PATIENCE = 5.0
"""Seconds from SIGABRT, at which a worker that hangs shows its stacks, to SIGKILL."""

RECYCLE_INTERVAL = 1.0
"""Seconds between two looks at how much the workers have served and grown."""

SPARED = 60.0
"""Seconds before a worker whose successor failed is tried to be recycled again."""

READY_FACTOR = 2
"""A successor has so many times ``startup_timeout`` for its import and its startup together."""


class Upkeep:
    """Looks after the workers in ``slots``, which run ``launch``. The supervisor calls `tick` when it is `due`."""

    def __init__(
        self, launch: Launch, slots: list[Slot], workforce: Workforce, reread: Reread | None, notifier: Notifier
    ) -> None:
        self.launch = launch
        self._slots = slots
        self._workforce = workforce
        self._reread = reread
        self._notifier = notifier
        workforce.note(launch)
        self._watchdog = Watchdog(launch.settings.worker_timeout)
        self._roll: Roll | None = None
        self._reload_wanted = False
        self._added: list[Slot] = []
        """Places that the reload under way has made."""
        self._next_recycling = math.inf

    # -- For the supervisor

    @property
    def due(self) -> float:
        """When `tick` wants to be called, in seconds of the monotonic clock; ``inf``: when something happens."""
        return min(self._watchdog.due, self._next_recycling, self._roll.due if self._roll is not None else math.inf)

    def tick(self, now: float) -> None:
        """Do what is to be done."""
        self._watch(now)
        self._recycle(now)
        if self._reload_wanted and self._settled:
            self._begin_reload(now)
        if self._roll is not None:
            self._advance(self._roll, now)

    def ready(self, worker: Worker, now: float) -> None:
        """A worker has become ready."""
        self._watchdog.watch(now)
        if not worker.lifetime.endless:
            self._next_recycling = min(self._next_recycling, now + RECYCLE_INTERVAL)

    def ended(self, worker: Worker, now: float) -> bool:
        """A worker is gone. True: nobody has to take its place, or somebody does already."""
        roll = self._roll
        if roll is None:
            return False
        missed = roll.concerns(worker) and not roll.committed
        roll.gone(worker, now)
        if not missed:
            return False
        self._give_up(roll, f"worker {worker.pid}, which should have taken over, ended")
        return True

    def stop(self) -> None:
        """The server stops: no more replacements."""
        self._roll = None
        if self._reload_wanted:  # it came together with the stop, or waited for a start to be over
            self._reload_wanted = False
            logger.info("SIGHUP: not while stopping")
        self._watchdog = Watchdog(0.0)
        self._next_recycling = math.inf

    @property
    def _settled(self) -> bool:
        """Every place has had a ready worker, and none is being replaced."""
        return self._roll is None and all(slot.proven for slot in self._slots)

    def want_reload(self) -> None:
        """Replace all workers, as soon as no other replacement is under way and all have been ready once."""
        if not self._settled:
            logger.info("SIGHUP: the workers are replaced once the start or replacement under way is done")
        self._reload_wanted = True

    def resize(self, change: int) -> None:
        """One worker more (1) or fewer (-1)."""
        name = "SIGTTIN" if change > 0 else "SIGTTOU"
        if not self._settled:
            logger.warning("%s: not while workers are started or replaced; send it again then", name)
            return
        if len(self._slots) + change < 1:
            logger.warning("%s: one worker is left, and stays; SIGTERM stops the server", name)
            return
        count = len(self._slots) + change
        logger.info(
            "%s: %d %s from now on, until the next reload", name, count, "worker" if count == 1 else "workers"
        )
        if change > 0:
            self._slots.append(Slot(count - 1, due=time.monotonic(), proven=True))
        else:
            slot = self._slots.pop()
            slot.due = None
            if slot.worker is not None:
                self.leave(slot.worker)

    def leave(self, worker: Worker) -> None:
        """Tell a worker to leave while the others go on."""
        budget = worker.launch.settings.roll_budget
        self._workforce.retire(worker, Order.LEAVE, [(budget + KILL_MARGIN, Step.KILL)])

    # -- Replacing

    def _begin_reload(self, now: float) -> None:
        self._reload_wanted = False
        launch = self.launch
        self._notifier.reloading("reading the settings again")
        if self._reread is not None:
            try:
                launch = keep_what_is_bound(self._reread(), self.launch.settings)
            except ConfigError as error:
                logger.error("SIGHUP: the settings cannot be used, and everything stays as it is: %s", error)
                self._workforce.board.common[RELOADS_FAILED] += 1
                self._notifier.ready("serving; the reload failed, its settings cannot be used")
                return
        for warning in launch.warnings:
            logger.warning("%s", warning)
        count = launch.settings.workers
        logger.info("SIGHUP: starting %d new %s", count, "worker" if count == 1 else "workers")
        self._added = [Slot(index, proven=True) for index in range(len(self._slots), count)]
        self._slots.extend(self._added)
        self._begin(launch, self._slots[:count], "", now)

    def _begin(self, launch: Launch, slots: list[Slot], cause: str, now: float) -> None:
        for slot in slots:
            slot.due = None  # a successor is on its way
        settings = launch.settings
        patience = READY_FACTOR * settings.startup_timeout
        self._roll = Roll(launch, slots, cause, now, patience=patience, stagger=settings.drain_idle)

    def _advance(self, roll: Roll, now: float) -> None:
        for slot in roll.slots_to_start():
            try:
                slot.successor = self._workforce.start(slot, roll.launch)
            except (OSError, RuntimeError) as error:
                self._give_up(roll, f"no worker could be started ({error})")
                return
            roll.started(slot, slot.successor)
        if roll.late(now):
            taken = format_duration(round(now - roll.began, 1))
            self._give_up(roll, f"the new workers were not ready after {taken} ({READY_FACTOR} x startup_timeout)")
        elif roll.complete and not roll.committed:
            self._commit(roll, now)
        while (worker := roll.to_leave(now)) is not None:
            self.leave(worker)
        if roll.over:
            self._finish(roll, now)

    def _commit(self, roll: Roll, now: float) -> None:
        surplus: list[Worker] = []
        if not roll.cause:
            for slot in self._slots[roll.launch.settings.workers :]:
                slot.due = None
                if slot.worker is not None:
                    surplus.append(slot.worker)
            del self._slots[roll.launch.settings.workers :]
            self._adopt(roll.launch)
        for slot in self._slots:
            slot.backoff.reset()
        roll.commit(surplus, now)

    def _adopt(self, launch: Launch) -> None:
        """From now on whoever is started runs these settings."""
        before, self.launch = self.launch.settings, launch
        self._workforce.note(launch)
        if launch.settings is not before:
            try:
                configure_logging(launch.settings)
            except ConfigError as error:
                logger.error("The supervisor goes on logging as it did: %s", error)
        self._watchdog = Watchdog(launch.settings.worker_timeout)
        self._watchdog.watch(time.monotonic())

    def _give_up(self, roll: Roll, why: str) -> None:
        for worker in roll.fail():
            if not worker.retired:
                self.leave(worker)
        now = time.monotonic()
        for slot in self._slots:
            if slot.worker is None and slot.due is None:
                slot.due = now  # it ended while it was being replaced
        if roll.cause:
            for slot in self._slots:
                slot.spared = now + SPARED
            logger.error("A worker could not be replaced: %s; the old one goes on", why)
            return
        self._workforce.board.common[RELOADS_FAILED] += 1
        # A reload that was to make more workers has made none.
        self._slots[:] = [slot for slot in self._slots if slot not in self._added]
        logger.error("The reload failed: %s; the old workers go on with the settings they have", why)
        self._notifier.ready("serving; the last reload failed")

    def _finish(self, roll: Roll, now: float) -> None:
        self._roll = None
        if roll.failed:
            return
        took = format_duration(round(now - roll.began, 2))
        pids = ", ".join(str(worker.pid) for worker in roll.successors)
        if roll.cause:
            logger.info("Worker %s serves in its place after %s", pids, took)
            return
        board = self._workforce.board
        board.common[RELOADS] += 1
        for _ in roll.successors:
            board.restarted("reload")
        logger.info("Reloaded in %s: workers %s serve, the old ones have been told to leave", took, pids)
        self._notifier.ready("serving, reloaded")

    # -- Recycling

    def _recycle(self, now: float) -> None:
        if now < self._next_recycling:
            return
        workers = [slot.worker for slot in self._slots if slot.worker is not None and now >= slot.spared]
        mortal = [worker for worker in workers if worker.ready and not worker.retired and not worker.lifetime.endless]
        spared = any(slot.spared > now for slot in self._slots)
        self._next_recycling = now + RECYCLE_INTERVAL if mortal or spared else math.inf
        if self._roll is not None or self._reload_wanted:
            return
        for worker in mortal:
            size = memory.resident(worker.pid) if worker.lifetime.memory else 0
            over = worker.lifetime.over(worker.seat[REQUESTS], now - worker.started, size)
            if over is None:
                continue
            cause, why = over
            self._workforce.board.restarted(cause)
            room = memory.headroom() if size else None
            if room is not None and room < size and len(workers) > 1:
                logger.info("Worker %d %s; it leaves first: there is no room for two of it", worker.pid, why)
                self.leave(worker)
            else:
                logger.info("Worker %d %s and is replaced", worker.pid, why)
                self._begin(worker.launch, [worker.slot], why, now)
            return  # one at a time

    # -- Hanging

    def _watch(self, now: float) -> None:
        if now < self._watchdog.due:
            return
        watched = [worker for worker in self._workforce if worker.ready and not worker.retired and not worker.end]
        beats = (
            (worker, max(worker.seat[BEAT] / 1e9, worker.started))
            for worker in watched
            if not worker.seat[DEBUGGED] and not memory.traced(worker.pid)
        )
        worker = self._watchdog.look(now, beats)
        if worker is None:
            if watched and self._watchdog.due == math.inf:
                self._watchdog.watch(now)  # all of them are being debugged, which has an end
            return
        limit = format_duration(worker.launch.settings.worker_timeout)
        logger.error(
            "Worker %d hangs: its event loop has not turned for %s (worker_timeout)%s; its stacks follow on standard "
            "error, then it is ended and replaced",
            worker.pid,
            limit,
            in_flight(worker.in_flight),
        )
        worker.end = "for hanging"
        worker.steps = deque([(now + ABORT_PATIENCE, Step.KILL)])
        self._workforce.signal(worker, signal.SIGABRT)
