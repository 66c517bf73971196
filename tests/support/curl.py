"""curl as people use it."""

from __future__ import annotations

import subprocess

from tests.support.tools import find_tool


def curl(*arguments: str, stdin: bytes = b"") -> tuple[bytes, str]:
    """Run curl; what it wrote, and what it told with --verbose."""
    binary = find_tool("curl", "curl")
    done = subprocess.run(
        [binary, "--silent", "--verbose", "--max-time", "10", "--noproxy", "*", *arguments],
        input=stdin,
        capture_output=True,
        timeout=15,
        check=False,
    )
    told = done.stderr.decode("latin-1").replace("\r", "")
    assert done.returncode == 0, told
    return done.stdout, told
