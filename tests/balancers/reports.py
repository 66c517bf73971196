"""Running clients or stand-ins in a process of their own, and taking their report."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.support.serving import ROOT, clean_environment


def report_of(module: str, port: int, **plan: Any) -> dict[str, Any]:
    """Run ``module`` of this package with this plan to its end; the report it prints as JSON."""
    command = [sys.executable, "-m", f"{__package__}.{module}", json.dumps({"port": port, **plan})]
    done = subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report
