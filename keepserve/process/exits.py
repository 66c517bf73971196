"""How a child process ended, in words."""

from __future__ import annotations

import os
import signal

from keepserve.config import exitcodes

_MEANINGS = {
    exitcodes.CRASH: "an unexpected error",
    exitcodes.SETTINGS: "bad settings",
    exitcodes.APP: "the application could not start",
    exitcodes.BIND: "an address could not be used",
}


def signal_name(number: int) -> str:
    """``SIGTERM``; a number for signals without a name (real-time ones)."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def describe_exit(status: int, *, oom: bool = False, by_us: bool = False) -> str:
    """Words for a status from ``waitpid``, to follow "worker 4711": "was killed by SIGKILL (...)".

    ``oom``: the kernel has killed somebody in our control group for want of memory meanwhile; ``by_us``: the
    signal was ours.
    """
    if not os.WIFSIGNALED(status):
        code = os.waitstatus_to_exitcode(status)
        meaning = f" ({_MEANINGS[code]})" if code in _MEANINGS else ""
        return f"ended with exit code {code}{meaning}"
    number = os.WTERMSIG(status)
    if by_us:
        return f"was ended by our {signal_name(number)}"
    if number == signal.SIGKILL and oom:
        return "was killed by SIGKILL: out of memory (its control group's oom_kill count rose)"
    if number == signal.SIGKILL:
        # Nothing else sends it unasked; keepserve says so itself when it was the one.
        return "was killed by SIGKILL (out of memory? The kernel's log tells)"
    core = ", core dumped" if os.WCOREDUMP(status) else ""
    verb = "was ended by" if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) else "crashed with"
    return f"{verb} {signal_name(number)}{core}"


def cause_of_exit(status: int, *, oom: bool = False, by_us: bool = False) -> str:
    """The same as one of `telemetry.counters.RESTARTS`; ``by_us`` is only for one that hung."""
    if by_us:
        return "hung"
    if not os.WIFSIGNALED(status):
        return "crashed" if os.waitstatus_to_exitcode(status) else "left"
    number = os.WTERMSIG(status)
    if number == signal.SIGKILL:
        return "out_of_memory" if oom else "killed"
    return "killed" if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) else "crashed"


def boot_failure_code(status: int) -> int:
    """The exit code of a server whose worker ended before it was ever ready.

    The worker's own for bad settings (2), application (3) and address (4); everything else, such as a crash
    during import, is the application's failure to start (3).
    """
    if os.WIFSIGNALED(status):
        return exitcodes.APP
    code = os.waitstatus_to_exitcode(status)
    return code if code in (exitcodes.SETTINGS, exitcodes.APP, exitcodes.BIND) else exitcodes.APP


def in_flight(requests: int) -> str:
    """Words for the requests a worker had under way, to follow a clause; nothing for none."""
    if not requests:
        return ""
    return f", with {requests} {'request' if requests == 1 else 'requests'} in flight"
