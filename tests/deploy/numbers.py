"""The table of numbers in deploy/README.md, from the files: ``python -m tests.deploy.numbers`` writes it there."""

from __future__ import annotations

import math
from pathlib import Path

from keepserve.balancer.facts import Pool
from keepserve.config.durations import format_duration
from tests.deploy import pieces
from tests.deploy.pieces import CHECKED, COMPOSE, COMPOSE_NGINX, DEPLOY, README

BEGIN, END = "<!-- numbers -->\n", "<!-- /numbers -->"

_HEAD = (
    "| | balancer's idle timeout | keepserve's | stop noticed within | drain delay | stop takes at most "
    "| killed after |\n"
    "|---|---|---|---|---|---|---|\n"
)


def rows() -> str:
    """The table: a row for each file, but one for the two of the Compose file."""
    return _HEAD + "".join(_row(file) for file in CHECKED if file != COMPOSE_NGINX)


def _row(file: Path) -> str:
    settings = pieces.setup(file).settings
    pools = (*pieces.pools(file), *(pieces.pools(COMPOSE_NGINX) if file == COMPOSE else ()))
    idle = max((pool.idle_timeout.value for pool in pools if pool.idle_timeout is not None), default=math.nan)
    noticed = max(filter(None, map(noticed_within, pools)), default=None)
    cells = (
        f"[{file.parent.relative_to(DEPLOY).parts[0]}]({file.relative_to(DEPLOY)})",
        format_duration(settings.lb_idle_timeout if math.isnan(idle) else idle),
        format_duration(settings.keep_alive_timeout),
        format_duration(noticed) if noticed is not None else "a refused connection",
        format_duration(settings.drain_delay),
        format_duration(settings.stop_budget),
        _killed(pools),
    )
    return f"| {' | '.join(cells)} |\n"


def noticed_within(pool: Pool) -> float | None:
    """Seconds until failed health checks take a server out; None without checks."""
    if pool.health_path is None or pool.health_interval is None or pool.health_threshold is None:
        return None
    return pool.health_interval.value * pool.health_threshold.value


def _killed(pools: tuple[Pool, ...]) -> str:
    kills = [pool.kill_after.value for pool in pools if pool.kill_after is not None]
    return format_duration(min(kills)) if kills else "whoever starts it says"


def with_table(text: str) -> str:
    """The README with its table as the files have it."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + rows() + END + rest.split(END, 1)[1]


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
