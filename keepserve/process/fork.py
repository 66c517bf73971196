"""Forking a child that cannot be mistaken for its parent and does not outlive it."""

from __future__ import annotations

import atexit
import ctypes
import gc
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Set
from typing import NoReturn

from keepserve.config import exitcodes
from keepserve.process.signals import reset_in_child

logger = logging.getLogger("keepserve")

_PR_SET_PDEATHSIG = 1
# Loaded before the fork: afterwards there should be as little to go wrong as possible.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def fork_child(main: Callable[[], int], *, parent_death: signal.Signals = signal.SIGTERM) -> int:
    """Fork; the child runs ``main`` and exits with what it returns. Returns the child's pid.

    To be called in the main thread: the parent-death signal follows the thread that forked. On Linux the
    child gets ``parent_death`` when the parent dies, however that happens. ``main`` starts with default
    signal dispositions (see `reset_in_child`) and has to close what it should not share. The parent's
    ``atexit`` functions do not run in the child; what the child registers does. Raises OSError when the
    system refuses another process.
    """
    parent = os.getpid()
    _flush()
    # What exists now is left alone by the child's garbage collector, and so stays shared memory.
    gc.freeze()
    # A signal that comes before the child has its own dispositions waits until it has.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with warnings.catch_warnings():
            # Python 3.12 and later warn when there are threads. We have none; an embedding program's were
            # told about in a sentence of our own (launch.py).
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            _run_child(main, parent, parent_death, mask)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _run_child(
    main: Callable[[], int], parent: int, parent_death: signal.Signals, mask: Set[int | signal.Signals]
) -> NoReturn:
    code = exitcodes.CRASH
    try:
        _die_with(parent, parent_death)
        reset_in_child()
        atexit._clear()
        atexit.register(logging.shutdown)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        code = main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else exitcodes.CRASH
    except BaseException:
        logger.critical("Process %d ends after an unexpected error", os.getpid(), exc_info=True)
    finally:
        try:
            # As the interpreter does at its end: threads are joined, then exit functions run.
            threading._shutdown()  # type: ignore[attr-defined]  # private, and what multiprocessing calls
            atexit._run_exitfuncs()
            _flush()
        finally:
            # Never back into the parent's frames: its finally blocks and callers are not ours.
            os._exit(code)


def _die_with(parent: int, parent_death: signal.Signals) -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(parent_death), 0, 0, 0)
    # It may have died before we asked. 0: it lives outside our PID namespace.
    if os.getppid() not in (parent, 0):
        os._exit(exitcodes.CRASH)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except (OSError, ValueError):
                pass  # a closed or broken pipe
