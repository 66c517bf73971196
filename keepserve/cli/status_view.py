"""What ``keepserve status`` shows of a status document (`keepserve.admin.document`): a screen, or one line."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import click

from keepserve.admin.figures import quantile
from keepserve.config.durations import format_duration
from keepserve.config.sizes import about

LABEL = 13
"""Columns of the words on the left."""

BAR = 24
"""Columns of the bar of a drain, and the most of those of connections."""

OTHER_COLUMNS = 73
"""What the table of workers takes beside its bars."""

_COLOURS = {"serving": "green", "draining": "yellow", "starting": "yellow"}
_HEIGHTS = ("▁▂▃▄▅▆▇█", ".:-=+*%#")
_BARS = (("█", "░"), ("#", "-"))

Document = dict[str, Any]


def screen(document: Document, before: Document | None = None, *, width: int = 100, unicode: bool = True) -> str:
    """The whole state, some twenty lines; with the document of a moment ago, rates and latencies since then."""
    before = before if before is not None and _same_server(document, before) else None
    plain = 0 if unicode else 1
    lines = [_head(document), *_row("balancer", _balancer(document)), ""]
    lines += _workers(document, max(4, min(BAR, width - OTHER_COLUMNS)), plain)
    lines.append("")
    for label, text in (
        ("requests", _requests(document, before)),
        ("latency", _latency(document, before)),
        ("connections", _connections(document)),
        ("reuse", _reuse(document)),
        ("closed", _closed(document)),
    ):
        lines += _row(label, text, width)
    lines += _idle(document, plain)
    lines += _drain(document, plain)
    for warning in document["warnings"]:
        wrapped = textwrap.wrap(warning, width - 4)
        lines.append(click.style("  ! " + "\n    ".join(wrapped), fg="yellow"))
    return "\n".join(lines)


def line(document: Document, before: Document | None = None) -> str:
    """The most important of it, for a log."""
    before = before if before is not None and _same_server(document, before) else None
    connections, reuse = document["connections"], document["connections"]["reuse"]
    p99 = _quantiles(document, before)[2]
    parts = [
        document["state"],
        f"{_number(_rate(document, before))} requests/s" if before else "",
        f"{_number(document['requests']['total'])} requests",
        f"{_number(connections['open'])} connections ({_number(connections['active'])} active)",
        f"p99 {_time(p99)}",
        f"reuse {_percent(reuse['ratio'])}",
        f"{len(document['workers'])} workers",
        f"{len(document['warnings'])} warnings" if document["warnings"] else "",
    ]
    return "  ".join(part for part in parts if part)


def _head(document: Document) -> str:
    state = click.style(document["state"], fg=_COLOURS.get(document["state"]), bold=True)
    where = ", ".join(document["listening"])
    return (
        f"{'keepserve':<{LABEL}}{state} for {_age(document['uptime'])} on {where or 'no address'} "
        f"(version {document['version']}, supervisor {document['pid']})"
    )


def _balancer(document: Document) -> str:
    settings, inferred = document["settings"], document["idle"]["inferred"]
    ours = format_duration(settings["keep_alive_timeout"])
    if not settings["lb_idle_timeout"]:
        return f"none to outlast; idle connections are kept {ours}"
    seen = ", ".join(
        f"{_time(inferred[version])} over {name}"
        for version, name in (("http1", "HTTP/1.1"), ("http2", "HTTP/2"))
        if inferred[version] is not None
    )
    name = settings["lb"] or "not named"
    return (
        f"{name}: idle after {format_duration(settings['lb_idle_timeout'])}, we after {ours}"
        f"{f'; it looks like {seen}' if seen else ''}"
    )


def _workers(document: Document, room: int, plain: int) -> Iterator[str]:
    workers = document["workers"]
    most = max((worker["connections"] for worker in workers), default=0)
    full, light = _BARS[plain]
    yield (
        f"{'workers':<{LABEL}}{'pid':>8} {'connections':<{room + 8}}{'active':>7}{'running':>8}"
        f"{'requests':>11}{'lag':>8}{'memory':>9}"
    )
    for worker in workers:
        length = round(worker["connections"] / most * room) if most else 0
        length = max(length, 1 if worker["connections"] else 0)
        busy = min(length, -(-worker["active"] * length // max(1, worker["connections"])))
        bar = full * busy + light * (length - busy)
        stage = worker["stage"] if worker["phase"] == "serving" else worker["phase"]
        state = (
            "" if stage == "serving" else f"  {'replaced, ' if worker['replaced'] else ''}{stage.replace('_', ' ')}"
        )
        yield (
            f"{'':<{LABEL}}{worker['pid'] or '-':>8} {bar:<{room}} {_number(worker['connections']):<7}"
            f"{_number(worker['active']):>7}{_number(worker['running']):>8}{_number(worker['requests']):>11}"
            f"{_time(worker['lag_max']):>8}{about(worker['memory']) if worker['memory'] else '-':>9}"
            f"{state}{'  full' if worker['full'] else ''}"
        )
    if not workers:
        yield f"{'':<{LABEL}}none"


def _requests(document: Document, before: Document | None) -> str:
    requests = document["requests"]
    classes = [f"{name} {_number(count)}" for name, count in requests["by_status"].items() if count]
    refused = [f"{status} {_number(count)}" for status, count in requests["rejected"].items()]
    parts = [
        f"{_number(_rate(document, before))} a second" if before else "",
        f"{_number(requests['total'])} in all" + (f" ({', '.join(classes)})" if classes else ""),
        f"{_number(requests['running'])} running",
        f"{_number(requests['waiting'])} waiting" if requests["waiting"] else "",
        f"{_number(requests['left'])} left by their client" if requests["left"] else "",
        f"{_number(requests['failed'])} failed" if requests["failed"] else "",
        f"refused by the server: {', '.join(refused)}" if refused else "",
    ]
    return "; ".join(part for part in parts if part)


def _latency(document: Document, before: Document | None) -> str:
    names = ("half within", "90 % within", "99 % within")
    values = _quantiles(document, before)
    if values[0] is None:
        return "no request " + ("in this time" if before else "yet")
    return ", ".join(f"{name} {_time(value)}" for name, value in zip(names, values, strict=True))


def _quantiles(document: Document, before: Document | None) -> list[float | None]:
    latency = document["latency"]
    counts: Sequence[int] = latency["counts"]
    if before is not None:
        counts = [now - was for now, was in zip(counts, before["latency"]["counts"], strict=True)]
    return [quantile(latency["bounds"], counts, part) for part in (0.5, 0.9, 0.99)]


def _connections(document: Document) -> str:
    connections = document["connections"]
    kinds = [
        f"{_number(connections[kind])} {name}"
        for kind, name in (("http1", "HTTP/1.1"), ("http2", "HTTP/2"), ("handshaking", "in the making"))
        if connections[kind]
    ]
    parts = [
        f"{_number(connections['open'])} open" + (f" ({', '.join(kinds)})" if kinds else ""),
        f"{_number(connections['active'])} active, {_number(connections['idle'])} idle",
        f"{_number(connections['websockets'])} WebSockets" if connections["websockets"] else "",
        f"{_number(connections['accepted'])} accepted",
    ]
    return "; ".join(part for part in parts if part)


def _reuse(document: Document) -> str:
    reuse = document["connections"]["reuse"]
    if reuse["ratio"] is None:
        return "no request yet"
    saved = f", {_age(reuse['time_saved'])} of waiting saved" if reuse["time_saved"] >= 1 else ""
    each = reuse["requests_per_connection"]
    return (
        f"{_percent(reuse['ratio'])} of requests needed no new connection; {each or 0:.1f} requests per connection, "
        f"{_number(reuse['handshakes_avoided'])} handshakes avoided{saved}"
    )


def _closed(document: Document) -> str:
    closed = sorted(document["connections"]["closed"].items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {_number(count)}" for reason, count in closed if count) or "none yet"


def _idle(document: Document, plain: int) -> Iterator[str]:
    """How long connections had been idle when they were closed: a column for each bucket."""
    idle, settings = document["idle"], document["settings"]
    counts = [peer + us for peer, us in zip(idle["by_peer"], idle["by_us"], strict=True)]
    most = max(counts)
    heights = _HEIGHTS[plain]
    columns = "".join(heights[-(-count * len(heights) // most) - 1] if count else " " for count in counts)
    marks = [" "] * len(counts)
    told: list[str] = []
    for letter, name, value in (
        ("K", "ours", settings["keep_alive_timeout"]),
        ("B", "the balancer", settings["lb_idle_timeout"]),
    ):
        if value:
            marks[sum(bound < value for bound in idle["bounds"])] = letter
            told.insert(0, f"{letter} {name} {format_duration(value)}")
    by_us = sum(idle["by_us"])
    yield f"{'idle closes':<{LABEL}}|{columns}|  {_number(sum(counts))}, {_number(by_us)} of them by us"
    yield f"{'':<{LABEL}} {''.join(marks)}   {', '.join(told)}"


def _drain(document: Document, plain: int) -> Iterator[str]:
    drain = document["drain"]
    if drain is None:
        return
    part = min(1.0, drain["elapsed"] / drain["limit"]) if drain["limit"] else 1.0
    full, light = _BARS[plain]
    done = round(part * BAR)
    bar = full * done + light * (BAR - done)
    yield (
        f"{'drain':<{LABEL}}{bar}  {_time(drain['elapsed'])} of at most {format_duration(drain['limit'])}; "
        f"{_number(drain['workers'])} workers, {_number(drain['requests'])} requests, "
        f"{_number(drain['connections'])} connections left"
    )


def _row(label: str, text: str, width: int = 100) -> list[str]:
    lines = textwrap.wrap(text, width - LABEL) or [""]
    return [f"{label if number == 0 else '':<{LABEL}}{one}" for number, one in enumerate(lines)]


def _same_server(document: Document, before: Document) -> bool:
    """Whether the numbers of the one follow those of the other."""
    same = document["pid"] == before["pid"] and document["began"] == before["began"]
    return bool(same and document["now"] > before["now"])


def _rate(document: Document, before: Document) -> float:
    """Requests answered per second."""
    count: int = document["requests"]["total"] - before["requests"]["total"]
    seconds: float = document["now"] - before["now"]
    return count / seconds


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{100 * part:.1f} %"


def _time(seconds: float | None) -> str:
    """A measured time, with three digits that mean something: ``0.4 ms``, ``12 ms``, ``1.25 s``, ``60 s``."""
    if seconds is None:
        return "-"
    if seconds < 0.9995:
        return f"{seconds * 1000:.{1 if seconds < 0.00995 else 0}f} ms"
    return f"{seconds:.{2 if seconds < 9.995 else 0}f} s"


def _age(seconds: float) -> str:
    """A long time by its two largest units: ``3 d 4 h``."""
    rest, parts = int(seconds), list[str]()
    for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        number, rest = divmod(rest, size)
        if number or parts or name == "s":
            parts.append(f"{number} {name}")
    return " ".join(parts[:2])
