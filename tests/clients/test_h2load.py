"""h2load: many streams on few connections, each answered with 200."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import Secure
from tests.support.tools import find_tool


def h2load(url: str, *options: str) -> str:
    """Run h2load; its report. All of its requests have to succeed, and over HTTP/2."""
    binary = find_tool("h2load", "nghttp2-client")
    done = subprocess.run([binary, *options, url], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def counts(report: str, line: str) -> dict[str, int]:
    """The numbers of a line such as ``requests: 10 total, 10 started``."""
    found = re.search(rf"^{line}: (.*)$", report, re.MULTILINE)
    assert found is not None, report
    return {name: int(number) for number, name in re.findall(r"(\d+) (\w+)", found.group(1))}


def whole(report: str, number: int) -> None:
    """All requests were answered, and with 2xx."""
    requests = {"total": number, "started": number, "done": number, "succeeded": number}
    assert counts(report, "requests") == requests | {"failed": 0, "errored": 0, "timeout": 0}, report
    assert counts(report, "status codes") == {"2xx": number, "3xx": 0, "4xx": 0, "5xx": 0}, report


@pytest.mark.parametrize(("clients", "streams"), [(1, 100), (8, 32)])
def test_each_of_its_requests_is_answered(base: str, clients: int, streams: int) -> None:
    report = h2load(f"{base}/hello", "-n", "3000", "-c", str(clients), "-m", str(streams))
    assert "Application protocol: h2c" in report
    whole(report, 3000)


def test_each_of_its_posts_is_answered(base: str, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(bytes(20_000))
    report = h2load(f"{base}/echo", "-n", "400", "-c", "4", "-m", "16", "-d", str(body))
    whole(report, 400)
    data = re.search(r"traffic: .*, [\d.]+\w+ \((\d+)\) data", report)
    assert data is not None, report
    assert int(data.group(1)) == 400 * 20_000


def test_each_of_its_requests_is_answered_over_tls(secure: Secure) -> None:
    report = h2load(f"{secure.base}/hello", "-n", "1000", "-c", "4", "-m", "32")
    assert "Application protocol: h2\n" in report
    whole(report, 1000)
