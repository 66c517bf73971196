"""The ordering law: which timer must be longer than which, and why.

``lb_idle_timeout < keep_alive_timeout < headers_timeout`` is the heart of keepserve. A server that closes
an idle connection before its balancer does will some day close it just as a request is on its way; the
balancer then answers 502, because it may not repeat a POST by itself (RFC 9110 section 9.2.2).

Pure arithmetic: settings in, sentences out, every violation at once.
"""

from __future__ import annotations

from keepserve.config.conflicts import Origins, told
from keepserve.config.durations import format_duration, plain_seconds
from keepserve.config.problems import DEFAULT_ORIGIN, Problem
from keepserve.config.settings import DEFAULT_KEEP_ALIVE_MARGIN, FIELDS_BY_NAME, PING_SHARE, Settings

SAFE_MARGIN = 5.0
"""Seconds between the two idle clocks under which a busy event loop or network can still lose the race."""


def check_ordering(settings: Settings, origins: Origins) -> tuple[list[Problem], list[Problem]]:
    """Hold the settings against the law. Returns (problems, warnings), each naming values and origins."""
    law = _Law(settings, origins)
    law.keep_alive_outlasts_balancer()
    law.envelope_outlasts_keep_alive()
    law.head_fits_envelope()
    law.advertised_timeout_is_smaller()
    law.idle_drain_within_drain()
    law.lame_duck_shows()
    law.stop_fits_grace()
    law.linger_idle_within_linger()
    law.pings_keep_websockets()
    return law.problems, law.warnings


class _Law:
    """One check of one set of settings; the methods are the paragraphs."""

    def __init__(self, settings: Settings, origins: Origins) -> None:
        self.settings = settings
        self.origins = origins
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def keep_alive_outlasts_balancer(self) -> None:
        s = self.settings
        if s.lb_idle_timeout == 0:
            return  # nobody in front: nobody to outlast
        names = ("keep_alive_timeout", "lb_idle_timeout")
        gap = s.keep_alive_timeout - s.lb_idle_timeout
        guessed = self.origins.get("lb_idle_timeout", DEFAULT_ORIGIN) == DEFAULT_ORIGIN
        direct = " If clients connect directly, say --lb none." if guessed else ""
        advice = f"Set {self._ask('keep_alive_timeout', s.lb_idle_timeout + self._margin())}"
        if gap <= 0:
            self._problem(
                names,
                "must be longer than",
                "keepserve would close idle connections that the balancer still counts on, and requests "
                "sent at that moment get 502",
                f"{advice} (the balancer's plus {format_duration(self._margin())}), or leave it out.{direct}",
            )
        elif gap < SAFE_MARGIN:
            self.warnings.append(
                Problem(
                    f"{self._told('keep_alive_timeout')} is only {format_duration(gap)} longer than "
                    f"{self._told('lb_idle_timeout')}: the balancer may send a request in the very moment "
                    "our timer fires, and a busy event loop or network makes both late. "
                    f"{advice} to be {format_duration(self._margin())} apart.",
                    names,
                )
            )

    def envelope_outlasts_keep_alive(self) -> None:
        s = self.settings
        names = ("headers_timeout", "keep_alive_timeout")
        full = s.keep_alive_timeout + s.request_head_timeout
        parts = f"keep_alive_timeout plus request_head_timeout, {format_duration(s.request_head_timeout)}"
        if s.headers_timeout <= s.keep_alive_timeout:
            self._problem(
                names,
                "must be longer than",
                "it also runs while a connection is idle, and would cut connections that keep-alive "
                "still holds open for the balancer",
                f"Set {self._ask('headers_timeout', full)} ({parts}), or leave it out.",
            )
        elif s.headers_timeout < full:
            left = format_duration(s.headers_timeout - s.keep_alive_timeout)
            self.warnings.append(
                Problem(
                    f"{self._told('headers_timeout')} leaves only {left} for the head of a request that "
                    f"begins at the end of {self._told('keep_alive_timeout')}, less than "
                    f"{self._told('request_head_timeout')}. Set {self._ask('headers_timeout', full)} "
                    f"({parts}).",
                    (*names, "request_head_timeout"),
                )
            )

    def head_fits_envelope(self) -> None:
        s = self.settings
        if s.request_head_timeout > s.headers_timeout:
            self._problem(
                ("request_head_timeout", "headers_timeout"),
                "must not be longer than",
                "the envelope includes the head",
                f"Set {self._ask('request_head_timeout', 10.0)} or a larger --headers-timeout.",
            )

    def advertised_timeout_is_smaller(self) -> None:
        s = self.settings
        # Only when somebody chose the margin: with a very short keep-alive, silence is what one expects.
        if s.keep_alive_margin >= s.keep_alive_timeout and self._chosen("keep_alive_margin"):
            self.warnings.append(
                Problem(
                    f"{self._told('keep_alive_margin')} is not smaller than "
                    f"{self._told('keep_alive_timeout')}: there is no time left to advertise, so "
                    "Keep-Alive: timeout=N is not sent and clients cannot close first. "
                    "Set a smaller --keep-alive-margin.",
                    ("keep_alive_margin", "keep_alive_timeout"),
                )
            )

    def idle_drain_within_drain(self) -> None:
        s = self.settings
        if s.drain_idle > s.drain_timeout:
            self._problem(
                ("drain_idle", "drain_timeout"),
                "must not be longer than",
                "idle connections end with the drain at the latest",
                f"Set {self._ask('drain_idle', s.drain_timeout)} or less.",
            )

    def lame_duck_shows(self) -> None:
        s = self.settings
        # A preset's lame duck is for balancers that learn of the stop from somebody else.
        if s.drain_delay > 0 and s.health_path is None and self._chosen("drain_delay"):
            self.warnings.append(
                Problem(
                    f"{self._told('drain_delay')} announces a stop by health checks that fail, and there is no "
                    "path for them: clients learn of it by Connection: close alone, and a balancer goes on "
                    "sending new ones. Set --health-path /healthz and have the balancer ask there, unless it "
                    "learns of the stop otherwise.",
                    ("drain_delay", "health_path"),
                )
            )

    def stop_fits_grace(self) -> None:
        s = self.settings
        if s.stop_grace is None or s.stop_budget <= s.stop_grace:
            return
        parts = ("drain_delay", "drain_timeout", "drain_cancel", "shutdown_timeout")[0 if s.drain_delay else 1 :]
        total = " + ".join(self._told(name) for name in parts)
        room = s.stop_grace - (s.stop_budget - s.drain_timeout)
        cure = f"Set {self._ask('drain_timeout', room)} or less" if room > 0 else "Shorten them"
        cure += f", or {self._ask('stop_grace', s.stop_budget)} or more if the orchestrator allows it."
        self.problems.append(
            Problem(
                f"{total} = {format_duration(s.stop_budget)} must not be longer than "
                f"{self._told('stop_grace')}: the orchestrator would kill requests that still run, and the "
                f"application's shutdown. {cure}",
                (*parts, "stop_grace"),
            )
        )

    def linger_idle_within_linger(self) -> None:
        s = self.settings
        if s.linger_idle_timeout > s.linger_timeout:
            self._problem(
                ("linger_idle_timeout", "linger_timeout"),
                "must not be longer than",
                "the whole reading-on would end before one wait does",
                f"Set {self._ask('linger_idle_timeout', s.linger_timeout)} or less.",
            )

    def pings_keep_websockets(self) -> None:
        s = self.settings
        if not s.websocket or not s.lb_idle_timeout or 0 < s.ws_ping_interval < s.lb_idle_timeout:
            return
        self.warnings.append(
            Problem(
                f"{self._told('ws_ping_interval')} does not keep WebSockets from being idle for "
                f"{self._told('lb_idle_timeout')}: the balancer will close quiet ones. "
                f"Set {self._ask('ws_ping_interval', PING_SHARE * s.lb_idle_timeout)} or less, or leave it out.",
                ("ws_ping_interval", "lb_idle_timeout"),
            )
        )

    def _problem(self, names: tuple[str, str], rule: str, why: str, cure: str) -> None:
        message = f"{self._told(names[0])} {rule} {self._told(names[1])}: {why}. {cure}"
        self.problems.append(Problem(message, names))

    def _told(self, name: str) -> str:
        return told(name, self.settings, self.origins)

    def _chosen(self, name: str) -> bool:
        return name in self.origins and self.origins[name].chosen

    def _margin(self) -> float:
        # A tiny margin of the user's own is what the warning is about, so do not advise it again.
        margin = self.settings.keep_alive_margin
        return margin if margin >= SAFE_MARGIN else DEFAULT_KEEP_ALIVE_MARGIN

    def _ask(self, name: str, seconds: float) -> str:
        return f"{FIELDS_BY_NAME[name].flag} {plain_seconds(seconds)}"
