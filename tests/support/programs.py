"""Programs of others as real processes: start one, wait until it listens, end it by its pid, show its log."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.serving import eventually

LOG_SHOWN = 3000
"""Characters of a program's log that are shown with a failure."""


def free_port() -> int:
    """A TCP port of this machine that nobody had a moment ago.

    It is none that the kernel gives out itself (from 32768 on): the hundreds of connections of a test beside this one
    might get it before the program that is to listen there.
    """
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program that may still run, and leave nothing of it."""
    if process.poll() is None:
        # SIGTERM, not SIGKILL: some have processes of their own to end.
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def listening(
    command: list[str], port: int, output: Path, *, complaints: Callable[[str], str] = str.strip
) -> Iterator[None]:
    """Run ``command``, which listens on ``port`` and writes its log to ``output``, until the block ends.

    It is ended by SIGTERM and has to exit with 0 or by that signal. ``complaints`` gives what of its log is a
    failure; the default is all of it. The log is shown with whatever fails inside the block.
    """
    name = Path(command[0]).name
    # Appending, as the program itself may do to the same file.
    with output.open("ab") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)

    def log() -> str:
        return f"{name} said, at the end:\n{output.read_text(errors='replace')[-LOG_SHOWN:]}"

    def answers() -> bool:
        assert process.poll() is None, f"{name} ended with {process.returncode}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    try:
        eventually(answers, f"{name} listens")
        yield
        process.terminate()
        code = process.wait(10)
        # Some tidy up and then let the signal end them.
        assert code in (0, -signal.SIGTERM), f"{name} exited with {code}"
        said = complaints(output.read_text(errors="replace"))
        assert said == "", f"{name} complained:\n{said}"
    except BaseException as error:
        error.add_note(log())
        raise
    finally:
        end(process)
