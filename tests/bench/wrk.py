"""wrk: HTTP/1.1 under load, with a script that sends what differs from request to request and counts exactly."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests.bench.checks import Ask, WrongAnswer
from tests.bench.processes import Unavailable, need, run_load

_MARK = "keepserve-bench "

_DONE = (
    """
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('"""
    + _MARK
    + """{"requests": %d, "bytes": %d, "microseconds": %d, "connect": %d, "read": %d, "write": %d, ' ..
    '"status": %d, "timeout": %d, "wrong": %d}\\n', summary.requests, summary.bytes, summary.duration,
    errors.connect, errors.read, errors.write, errors.status, errors.timeout, found()))
end
"""
)
"""The figures as JSON: those wrk prints itself are rounded."""

_NOT_VERIFIED = "found = function() return 0 end\n"
_VERIFIED = """
local file = io.open(%s, "rb")
local expected = file:read("*a")
file:close()
wrong = 0
local worker
setup = function(thread) worker = thread end
response = function(status, headers, body)
  if status ~= 200 or body ~= expected then wrong = wrong + 1 end
end
found = function() return worker:get("wrong") end
"""
"""Every response compared, byte by byte. It costs wrk too much to be left on while measuring."""


@dataclass(frozen=True)
class Run:
    """What wrk counted. ``wrong`` are responses with another status or body, where each was compared."""

    requests: int
    bytes: int
    microseconds: int
    connect: int
    read: int
    write: int
    status: int
    timeout: int
    wrong: int

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests * 1e6 / self.microseconds

    @property
    def size(self) -> float:
        """Bytes of a response, head included, on average."""
        return self.bytes / self.requests if self.requests else 0.0


def read_run(output: str) -> Run:
    """Find the script's line in what wrk printed."""
    for line in output.splitlines():
        if line.startswith(_MARK):
            return Run(**json.loads(line.removeprefix(_MARK)))
    raise Unavailable(f"wrk did not run its script to the end: {output.strip()[-200:]!r}")


def judge_run(run: Run, size: float | None, connections: int) -> None:
    """Raise ``WrongAnswer`` when anything went wrong, or responses were not as long as those that were compared.

    ``size`` is what a compared response measured, or ``None``. Up to a response for each connection is on its way
    when wrk stops, and heads differ by a digit or two.
    """
    troubles = [
        f"{count} {what}"
        for what, count in (
            ("connections refused", run.connect),
            ("errors while reading", run.read),
            ("errors while writing", run.write),
            ("answers that are no 2xx or 3xx", run.status),
            ("answers later than 10 s", run.timeout),
            ("answers with a wrong status or body", run.wrong),
        )
        if count
    ]
    if troubles:
        raise WrongAnswer(", ".join(troubles) + f" among {run.requests:,} requests")
    if not run.requests:
        raise WrongAnswer("no answer at all")
    if size is not None and abs(run.size - size) > 2 + size * (0.005 + connections / run.requests):
        raise WrongAnswer(f"answers of {run.size:.1f} bytes instead of {size:.1f}")


def script(ask: Ask, expected: Path | None, lua: str = "") -> str:
    """Write the script for a request; with a file that holds the ``expected`` body, every response is compared.

    ``lua`` may define ``request``.
    """
    lines = [f'wrk.method = "{ask.method}"\n']
    lines += [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}\n" for name, value in ask.fields]
    if ask.body:
        octets = "".join(f"\\{octet}" for octet in ask.body[:256])
        lines.append(
            f'wrk.body = string.sub(string.rep("{octets}", {-(-len(ask.body) // 256)}), 1, {len(ask.body)})\n'
        )
    lines.append(_NOT_VERIFIED if expected is None else _VERIFIED % json.dumps(str(expected)))
    return "".join(lines) + lua + _DONE


def load(url: str, connections: int, seconds: int, cpu: str, file: Path) -> Run:
    """Load a server with the script in ``file``."""
    wrk = need("wrk", "wrk")
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(file), url]
    return read_run(run_load(command, cpu, seconds))


BALANCER_FIELDS = (
    ("X-Forwarded-For", "203.0.113.7"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Port", "443"),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Accept-Language", "en-US,en;q=0.9"),
    (
        "Cookie",
        "session=0123456789abcdef0123456789abcdef0123456789abcdef; theme=dark; "
        "csrftoken=fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210; consent=all",
    ),
    ("Cache-Control", "no-cache"),
)
"""What a balancer adds and a browser sends; with Host and the two below, twelve fields and about 700 bytes."""

UNIQUE_FIELDS = """
local count = 0
local head, tail
request = function()
  if not head then
    local whole = wrk.format()
    local cut = string.find(whole, "\\r\\n\\r\\n", 1, true)
    head, tail = string.sub(whole, 1, cut + 1), string.sub(whole, cut + 2)
  end
  count = count + 1
  local fields = "X-Amzn-Trace-Id: Root=1-67891233-%024x\\r\\nX-Request-Id: 5f0c6a4e2b8d4c1e%016x\\r\\n"
  return head .. string.format(fields, count, count) .. tail
end
"""
"""Two fields that no other request of the run has."""


def many_fields(count: int) -> tuple[tuple[str, str], ...]:
    """So many fields of about 40 bytes."""
    return tuple((f"X-Field-{number:02}", f"value-{number:02}-0123456789abcdef") for number in range(count))
