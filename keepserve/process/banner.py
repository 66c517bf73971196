"""What keepserve says when it starts: where, with how many workers, and how long connections live."""

from __future__ import annotations

import os
from collections.abc import Sequence

from keepserve._version import __version__
from keepserve.balancer.presets import PRESETS
from keepserve.config import Settings
from keepserve.config.durations import format_duration


def banner(
    settings: Settings,
    addresses: Sequence[str],
    *,
    loop: str,
    admin: Sequence[str] = (),
    watched: Sequence[str] = (),
) -> str:
    """The start-up message, several lines. ``addresses`` as displayed, ``loop`` the event loop's name.

    ``admin`` is where the server can be watched, ``watched`` the directories whose changes start it again.
    """
    workers = "1 worker" if settings.workers == 1 else f"{settings.workers} workers"
    lines = [
        f"keepserve {__version__}, supervisor {os.getpid()}, {workers} on {loop}",
        *_line("address", ", ".join(addresses)),
        *_line("speaks", _protocols(settings)),
        *_line("balancer", _balancer(settings)),
        *_line("trusts", _trusts(settings)),
        *_line("clocks", _clocks(settings)),
        *_line("stop", _stop(settings)),
    ]
    if admin:
        public = ", where whoever reaches it may look (--admin-allow-public)" if settings.admin_allow_public else ""
        lines += _line("admin", f"{', '.join(admin)}: a page, /status and /metrics{public}")
    if watched:
        lines += _line("reload", "when a .py file changes in " + ", ".join(watched))
    return "\n".join(lines)


def _protocols(settings: Settings) -> str:
    http1 = f"HTTP/1.1 ({settings.http1})"
    if settings.http2 == "off":
        return http1
    ways = []
    if settings.ssl_certfile is not None:
        ways.append("by ALPN")
    if settings.h2c:
        ways.append("by prior knowledge")
    if not ways:
        return f"{http1}; HTTP/2 needs TLS (--ssl-certfile), since --no-h2c is set"
    return f"{http1}, HTTP/2 ({settings.http2}, {' and '.join(ways)})"


def _line(label: str, text: str) -> list[str]:
    return [f"{label:<9} {text}"]


def _balancer(settings: Settings) -> str:
    idle, kept = settings.lb_idle_timeout, settings.keep_alive_timeout
    if idle == 0:
        return f"none to outlast; idle connections are kept {format_duration(kept)}"
    longer = format_duration(kept - idle)
    outlasts = f"keepserve keeps them {format_duration(kept)}, {longer} longer, and is never the first to close"
    drops = f"drops idle connections after {format_duration(idle)}"
    if settings.lb is None:
        return f"not named (--lb); taken as one that {drops}: {outlasts}"
    preset = PRESETS.get(settings.lb)
    if preset is None or not preset.idle:
        return f"{settings.lb} has no known idle timeout; taken as one that {drops}: {outlasts}"
    return f"{settings.lb} {drops}; {outlasts}"


def _trusts(settings: Settings) -> str:
    """Who may say that the client is somebody else."""
    told = []
    if settings.proxy_protocol != "off":
        told.append(f"the PROXY header of {_peers(settings.proxy_protocol_from)}, which every connection must have")
    if settings.proxy_headers and settings.forwarded_allow_ips:
        names = ["Forwarded"]
        if settings.forwarded_header == "x-forwarded":
            names = ["X-Forwarded-For", "-Proto", *(("-Host", "-Port") if settings.forwarded_host else ())]
        elif not settings.forwarded_host:
            names = ["Forwarded but for its host"]
        listed = ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
        told.append(f"{listed} of {_peers(settings.forwarded_allow_ips)}")
    return "; ".join(told) or "nobody: the client is whoever connects (--forwarded-allow-ips)"


def _peers(entries: Sequence[str]) -> str:
    if "*" in entries:
        return "everybody, so that any client can say it is another"
    words = {"unix": "peers on Unix sockets"}
    return ", ".join(words.get(entry, entry) for entry in entries) or "nobody"


def _clocks(settings: Settings) -> str:
    return (
        f"idle {format_duration(settings.keep_alive_timeout)}, "
        f"request head {format_duration(settings.request_head_timeout)} from its first byte, "
        f"both together {format_duration(settings.headers_timeout)}"
    )


def _stop(settings: Settings) -> str:
    first = ""
    if settings.drain_delay:
        first = f"serves on for {format_duration(settings.drain_delay)}"
        if settings.health_path is not None:
            first += f" while {settings.health_path} says 503"
        first += "; then "
    elif settings.health_path is not None:
        first = f"{settings.health_path} says 503; "
    return first + (
        f"running requests get {format_duration(settings.drain_timeout)}, "
        f"then {format_duration(settings.drain_cancel)} to clean up; "
        f"the application's shutdown {format_duration(settings.shutdown_timeout)}"
    )
