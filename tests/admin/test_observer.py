"""Taking readings: of now, and what is remembered from before."""

from __future__ import annotations

from keepserve._version import __version__
from keepserve.admin.observer import MEMORY, SAMPLE_INTERVAL, Observer
from keepserve.config.settings import Settings
from keepserve.telemetry import counters
from keepserve.telemetry.scoreboard import Scoreboard
from tests.admin.readings import add_worker, board


class Clock:
    """Nanoseconds that only a test lets pass."""

    def __init__(self) -> None:
        self.now = 1_000_000_000

    def __call__(self) -> int:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)


def observer(made: Scoreboard, clock: Clock) -> Observer:
    return Observer(
        made,
        Settings(),
        listening=("unix:/run/app.sock",),
        pid=100,
        wall=lambda: 2000.0,
        monotonic_ns=clock,
        memory_of=lambda pid: {101: 5000}.get(pid, 0),
    )


def test_a_reading_has_what_is_known_now() -> None:
    made, clock = board(), Clock()
    for pid in (101, 102):
        add_worker(made, pid)
    made.take()  # nobody yet
    reading = observer(made, clock).read()
    assert [worker.number for worker in reading.snapshot.workers] == [0, 1, 2]
    assert (reading.now, reading.monotonic_ns, reading.version) == (2000.0, 1_000_000_000, __version__)
    assert (reading.pid, reading.listening) == (100, ("unix:/run/app.sock",))
    assert reading.memory == {101: 5000}  # that of a process that is gone is not known
    assert reading.earlier is None


def test_new_settings_are_those_of_the_next_reading() -> None:
    watching = observer(board(), Clock())
    watching.settings = Settings(workers=7)
    assert watching.read().settings.workers == 7


def test_what_was_counted_some_minutes_ago_is_remembered_and_no_more() -> None:
    made, clock = board(), Clock()
    _, pen = add_worker(made, 101)
    watching = observer(made, clock)
    for sample in range(200):
        pen.words[counters.OVERDUE] = sample
        watching.remember()
        earlier = watching.read().earlier
        old = sample - int(MEMORY / SAMPLE_INTERVAL)
        assert (earlier[counters.OVERDUE] if earlier is not None else None) == (old if old >= 0 else None)
        clock.pass_by(SAMPLE_INTERVAL)
    assert len(watching._past) <= MEMORY / SAMPLE_INTERVAL + 2
