"""Workers without a server, to test the supervisor alone: ``python -m tests.process.fakes ENTRY OPTIONS``.

Each says on standard error what happens to it: ``up PID TIME`` (monotonic), ``order PID X``.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from keepserve.config import Settings
from keepserve.process import run_supervised
from keepserve.process.context import WorkerContext
from keepserve.process.orders import READY
from keepserve.telemetry.scoreboard import BEAT, DEBUGGED, REQUESTS, RUNNING


def say(text: str) -> None:
    os.write(2, f"{text}\n".encode())


def up() -> None:
    say(f"up {os.getpid()} {time.monotonic()}")


def obedient(context: WorkerContext) -> int:
    """Ready at once; ends at the first order."""
    up()
    context.channel.send(READY)
    say(f"order {os.getpid()} {context.channel.recv(64).decode() or 'EOF'}")
    return 0


def stubborn(context: WorkerContext) -> int:
    """Ready at once; ends for nothing but SIGKILL and the end of the supervisor."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    up()
    context.channel.send(READY)
    while orders := context.channel.recv(64):
        say(f"order {os.getpid()} {orders.decode()}")
    say(f"order {os.getpid()} EOF")
    return 0


def hurrying(context: WorkerContext) -> int:
    """Ready at once; ends when told to hurry."""
    up()
    context.channel.send(READY)
    while (orders := context.channel.recv(64)) and b"h" not in orders:
        say(f"order {os.getpid()} {orders.decode()}")
    say(f"order {os.getpid()} h")
    return 0


def importing(context: WorkerContext) -> int:
    """Never ready, like an application whose import takes for ever."""
    up()
    time.sleep(60)
    return 0


def late(context: WorkerContext) -> int:
    """Ready only when a byte comes in on its listening socket."""
    up()
    context.sockets[0].listen()
    context.sockets[0].accept()
    context.channel.send(READY)
    context.channel.recv(64)
    return 0


def listening(context: WorkerContext) -> int:
    """Ready and listening; told to stop, it closes its copy and sees whether anybody else still has one."""
    up()
    (sock,) = context.sockets
    family, address = sock.family, sock.getsockname()
    sock.listen()
    context.channel.send(READY)
    context.channel.recv(64)
    sock.close()
    with socket.socket(family) as client:
        say("refused" if client.connect_ex(address) else "accepted")
    return 0


def leaving(context: WorkerContext) -> int:
    """Ready at once; says every order, and ends when it is told to leave or to stop."""
    up()
    context.channel.send(READY)
    while orders := context.channel.recv(1):
        say(f"order {os.getpid()} {orders.decode()}")
        if orders in (b"l", b"s", b"i"):
            break
    return 0


def lingering(context: WorkerContext) -> int:
    """Ready at once; told to leave it stays, as with idle connections, and ends when it is told to stop."""
    up()
    context.channel.send(READY)
    while (orders := context.channel.recv(1)) not in (b"s", b"i", b""):
        say(f"order {os.getpid()} {orders.decode()}")
    say(f"order {os.getpid()} {orders.decode()}")
    return 0


def second_fails(context: WorkerContext) -> int:
    """The first is well; whoever comes after it ends with exit code 3 before it is ready."""
    try:
        os.close(os.open(os.environ["FAKE_MARK"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        up()
        return 3
    return leaving(context)


def third_fails(context: WorkerContext) -> int:
    """The first two are well; whoever comes after them ends with exit code 3 before it is ready."""
    for number in (1, 2):
        try:
            os.close(os.open(f"{os.environ['FAKE_MARK']}{number}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        return leaving(context)
    up()
    return 3


def second_hangs(context: WorkerContext) -> int:
    """The first is well; whoever comes after it never becomes ready."""
    try:
        os.close(os.open(os.environ["FAKE_MARK"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return importing(context)
    return leaving(context)


def busy(context: WorkerContext) -> int:
    """As ``leaving``, and has served a hundred requests, of which three are under way."""
    seat = context.board.seat(context.seat)
    seat[REQUESTS], seat[RUNNING] = 100, 3
    return leaving(context)


def hanging(context: WorkerContext) -> int:
    """Its loop has turned once and never does again; it can be stopped all the same."""
    seat = context.board.seat(context.seat)
    seat[BEAT], seat[RUNNING] = time.monotonic_ns(), 2
    return leaving(context)


def debugged(context: WorkerContext) -> int:
    """As ``hanging``, but somebody looks at it with a debugger."""
    context.board.seat(context.seat)[DEBUGGED] = 1
    return hanging(context)


def exits(context: WorkerContext) -> int:
    """Never ready; ends with the exit code named by the environment."""
    up()
    return int(os.environ["FAKE_EXIT_CODE"])


def crashes(context: WorkerContext) -> int:
    """Never ready; crashes."""
    up()
    os.kill(os.getpid(), signal.SIGSEGV)
    return 0


def fails_second(context: WorkerContext) -> int:
    """The first worker is well; every other one ends before it is ready."""
    up()
    try:
        context.sockets[0].listen()
        fd = os.open(os.environ["FAKE_MARK"], os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return 7
    os.close(fd)
    context.channel.send(READY)
    say(f"order {os.getpid()} {context.channel.recv(64).decode()}")
    return 0


def descriptors(context: WorkerContext) -> int:
    """Says which descriptors it holds beside its channel and the listening sockets, and how many it may."""
    mine = {context.channel.fileno(), *(sock.fileno() for sock in context.sockets)}
    found = set()
    for fd in range(3, 64):
        try:
            os.fstat(fd)
        except OSError:
            continue
        found.add(fd)
    say(f"stray {os.getpid()} {sorted(found - mine)}")
    say(f"limit {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}")
    return obedient(context)


def served(context: WorkerContext) -> int:
    """The real thing."""
    from keepserve.process.worker import worker_main

    return worker_main(context)


ENTRIES: dict[str, Callable[[WorkerContext], int]] = {
    entry.__name__: entry
    for entry in (
        obedient,
        stubborn,
        hurrying,
        importing,
        late,
        listening,
        leaving,
        lingering,
        second_fails,
        third_fails,
        second_hangs,
        busy,
        hanging,
        debugged,
        exits,
        crashes,
        fails_second,
        descriptors,
        served,
    )
}


MODULES = [f"keepserve.process.{name}" for name in ("supervisor", "upkeep", "workforce", "watchdog", "worker")]
MODULES.append("keepserve.server.balance")


def main(name: str, options: dict[str, Any]) -> int:
    """Run a supervisor. Options in capitals replace constants, ``before`` names a preparation."""
    for constant in [option for option in options if option.isupper()]:
        value = options.pop(constant)
        owners = [module for module in map(importlib.import_module, MODULES) if hasattr(module, constant)]
        assert owners, constant
        for module in owners:
            setattr(module, constant, value)
    if options.pop("before", "") == "stranger":
        stranger()
    everything: dict[str, Any] = {"port": 0, "loop": "asyncio"} | options
    return run_supervised(Settings(**everything), worker_entry=ENTRIES[name])


def stranger() -> None:
    """Leave the supervisor a child it knows nothing of, as PID 1 gets them."""
    pid = os.fork()
    if pid == 0:
        say(f"stranger {os.getpid()}")
        time.sleep(0.2)
        os._exit(9)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], json.loads(sys.argv[2])))
