"""The table in ``deploy/README.md``: what the floods through each balancer came to."""

from __future__ import annotations

import dataclasses
import datetime
import textwrap
from typing import Any

from tests.balancers.fronts import Front
from tests.support.serving import ROOT

BEGIN, END = "<!-- results -->", "<!-- /results -->"


_INTRODUCTION = (
    "Written by the tests on {date}: {seconds:.0f} s of mixed GET and POST, small and large, of known length and "
    "streamed, with pauses about as long as each balancer's idle timeout (scaled to 1 s); within them two keepserves "
    "were replaced one after the other. Failed is every request without a whole and right 200, and every one that "
    "the application did not see coming from its client's own address."
)


@dataclasses.dataclass(frozen=True)
class Result:
    """One line of the table."""

    front: Front
    requests: int
    failures: int
    connections: int

    @classmethod
    def of(cls, front: Front, report: dict[str, Any]) -> Result:
        """The numbers of a report of ``tides``."""
        requests, failures = sum(report["kinds"].values()), sum(report["failures"].values())
        return cls(front, requests, failures, len(report["backends"]))

    @property
    def ratio(self) -> float:
        """Requests for each connection between the balancer and the servers."""
        return self.requests / max(1, self.connections)


def table(results: list[Result], seconds: float, date: datetime.date) -> str:
    """The text between the marks."""
    rows = [
        *textwrap.wrap(_INTRODUCTION.format(seconds=seconds, date=date.isoformat()), 118, break_on_hyphens=False),
        "",
        "| Balancer | Version | To keepserve | File | Requests | Failed | Requests per connection |",
        "|---|---|---|---|---:|---:|---:|",
    ]
    for result in results:
        front = result.front
        file = f"[{front.file}]({front.file})" if front.file else "none"
        rows.append(
            f"| {front.title} | {front.version()} | {front.protocol} | {file} | {result.requests} | "
            f"{result.failures} | {result.ratio:.1f} |"
        )
    return "\n".join(rows)


def write(results: list[Result], seconds: float) -> None:
    """Put the table where it belongs; AssertionError without the two marks."""
    file = ROOT / "deploy" / "README.md"
    text = file.read_text()
    assert text.count(BEGIN) == text.count(END) == 1, f"deploy/README.md needs {BEGIN} and {END}, each once"
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    today = datetime.datetime.now(tz=datetime.UTC).date()
    file.write_text(f"{before}{BEGIN}\n{table(results, seconds, today)}\n{END}{after}")
