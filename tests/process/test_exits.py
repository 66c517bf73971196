"""How the end of a worker is told, and what it means for the server's own exit code."""

from __future__ import annotations

import signal

import pytest

from keepserve.process.exits import boot_failure_code, describe_exit, signal_name

CORE = 0x80


def _code(code: int) -> int:
    return code << 8


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (_code(0), "ended with exit code 0"),
        (_code(3), "ended with exit code 3 (the application could not start)"),
        (_code(17), "ended with exit code 17"),
        (int(signal.SIGKILL), "was killed by SIGKILL (out of memory? The kernel's log tells)"),
        (int(signal.SIGTERM), "was ended by SIGTERM"),
        (int(signal.SIGSEGV), "crashed with SIGSEGV"),
        (int(signal.SIGABRT) | CORE, "crashed with SIGABRT, core dumped"),
    ],
)
def test_an_end_is_told_with_signal_name_or_exit_code(status: int, said: str) -> None:
    assert describe_exit(status) == said


def test_a_signal_without_a_name_is_told_by_its_number() -> None:
    assert signal_name(99) == "signal 99"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (_code(0), 3),
        (_code(1), 3),
        (_code(2), 2),
        (_code(3), 3),
        (_code(4), 4),
        (_code(17), 3),
        (int(signal.SIGSEGV), 3),
        (int(signal.SIGINT), 3),
    ],
)
def test_a_failed_first_start_passes_on_settings_app_and_bind_and_is_the_app_otherwise(
    status: int, code: int
) -> None:
    assert boot_failure_code(status) == code
