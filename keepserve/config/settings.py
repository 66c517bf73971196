"""The settings of keepserve: one dataclass, one source for flags, environment, help, table and checks.

Durations are seconds (float), sizes are bytes (int). Adding a setting means adding a field here;
nothing else has to know. Values reach this class checked: `keepserve.balancer.resolution` reads them
from their sources, applies the balancer preset and the ordering law, and reports every problem.
Building ``Settings(...)`` directly (tests, embedding) skips those checks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from keepserve.config.fields import Info, describe, is_derived, setting
from keepserve.config.kinds import (
    APP,
    DIRECTORY,
    DURATION,
    FIELDS,
    FILE,
    FLAG,
    INTEGER,
    MODE,
    RATE,
    SIZE,
    TRUSTED_PEERS,
    WORKERS,
    Choice,
    Text,
    Words,
)
from keepserve.config.logformats import LOG_FORMAT

DEFAULT_LB_IDLE_TIMEOUT = 60.0
"""Seconds assumed for a balancer nobody named: what ALB, nginx, Kong and Varnish use."""

DEFAULT_KEEP_ALIVE_MARGIN = 20.0
"""Seconds we keep an idle connection longer than the balancer does."""

PING_SHARE = 0.4
"""The part of ``lb_idle_timeout`` after which a WebSocket is pinged: under half, so that one may be lost."""
LONGEST_PING_INTERVAL = 30.0
"""Seconds; ``ws_ping_interval`` is no longer unless it is set: firewalls and phones forget connections as well."""

LONGEST_ROLL_IDLE = 120.0
"""Seconds; ``roll_idle`` is no longer unless it is set: a replaced worker must not stay for an hour."""

_KIB = 1024
_MIB = 1024 * _KIB

APPLICATION = "Application"
LISTENING = "Listening"
WORKER_GROUP = "Workers"
KEEP_ALIVE = "Balancer and keep-alive"
HTTP1 = "HTTP/1.1"
HTTP2 = "HTTP/2"
WEBSOCKET = "WebSocket"
LIMITS = "Time limits"
LOAD = "Load"
STOPPING = "Starting and stopping"
TRUST = "Trust"
TLS = "TLS"
LOGGING = "Logging"
WATCHING = "Watching"

_DERIVED = math.nan
_PORT_MAX = 65535
_PYTHON_LEVELS = {50: "critical", 40: "error", 30: "warning", 20: "info", 10: "debug", 5: "trace"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything keepserve can be told. Immutable; see each field's sentence.

    ``keep_alive_timeout`` and ``headers_timeout`` are computed from the balancer's idle timeout unless
    given: ``Settings(lb_idle_timeout=600)`` has 620 and 630.
    """

    # -- Application
    app: object | str | None = setting(
        "The ASGI application, as module:attribute.", APPLICATION, APP, None, unset="none"
    )
    factory: bool = setting("APP is a function that returns the application.", APPLICATION, FLAG, False)
    app_dir: str = setting(
        "Directory put first on the import path before APP is imported.", APPLICATION, DIRECTORY, "."
    )
    root_path: str = setting(
        "Prefix under which a proxy publishes the application (ASGI root_path).",
        APPLICATION,
        Text("PREFIX"),
        "",
        unset="none",
    )
    lifespan: Literal["auto", "on", "off"] = setting(
        "Run the application's startup and shutdown; auto: if it supports them.",
        APPLICATION,
        Choice("auto", "on", "off"),
        "auto",
    )
    env_file: str | None = setting(
        "File of KEY=VALUE lines: settings for keepserve, and environment for the application.",
        APPLICATION,
        FILE,
        None,
        unset="none",
    )
    reload: bool = setting("Start again whenever a source file changes; for development.", APPLICATION, FLAG, False)
    reload_dir: tuple[str, ...] = setting(
        "Directory to watch with --reload; may be given several times.",
        APPLICATION,
        Words("DIRECTORY"),
        (),
        unset="the app directory",
    )

    # -- Listening
    bind: tuple[str, ...] = setting(
        "Address to listen on: host:port, [::1]:port, unix:path or fd://3; may be given several times.",
        LISTENING,
        Words("ADDRESS"),
        (),
        unset="host and port",
    )
    host: str = setting("Host name or address to listen on.", LISTENING, Text("HOST"), "127.0.0.1")
    port: int = setting(
        "TCP port to listen on.",
        LISTENING,
        INTEGER,
        8000,
        zero="any free port",
        minimum=0,
        maximum=_PORT_MAX,
        also_env=("PORT",),
    )
    uds: str | None = setting(
        "Path of a Unix socket to listen on instead of host and port.", LISTENING, FILE, None, unset="none"
    )
    fd: int | None = setting(
        "Inherited listening socket (file descriptor) to use instead of host and port.",
        LISTENING,
        INTEGER,
        None,
        minimum=0,
        unset="none",
    )
    backlog: int = setting(
        "Connections the kernel may hold before they are accepted.",
        LISTENING,
        INTEGER,
        2048,
        unit="connections",
        minimum=1,
        maximum=1_000_000,
    )
    uds_permissions: int = setting(
        "File mode of the Unix sockets keepserve creates.", LISTENING, MODE, 0o660, minimum=0, maximum=0o777
    )

    # -- Workers
    workers: int = setting(
        "Worker processes; auto: as many as CPUs can be used (a container's quota counts).",
        WORKER_GROUP,
        WORKERS,
        1,
        unit="processes",
        minimum=1,
        maximum=1024,
        also_env=("WEB_CONCURRENCY",),
    )
    loop: Literal["auto", "uvloop", "asyncio"] = setting(
        "Event loop; auto: uvloop where it is installed.",
        WORKER_GROUP,
        Choice("auto", "uvloop", "asyncio"),
        "auto",
    )
    balance_workers: bool = setting(
        "Spread connections evenly over the workers: one that has more than another accepts later.",
        WORKER_GROUP,
        FLAG,
        True,
    )
    worker_timeout: float = setting(
        "How long a worker's event loop may be blocked before the worker is replaced.",
        WORKER_GROUP,
        DURATION,
        30.0,
        zero="never replaced",
    )
    max_requests: int = setting(
        "Requests after which a worker is replaced (±10 %).",
        WORKER_GROUP,
        INTEGER,
        0,
        unit="requests",
        zero="no limit",
        minimum=0,
    )
    max_worker_age: float = setting(
        "Age at which a worker is replaced (±10 %).", WORKER_GROUP, DURATION, 0.0, zero="no limit"
    )
    max_worker_memory: int = setting(
        "Resident memory at which a worker is replaced (up to 10 % less).",
        WORKER_GROUP,
        SIZE,
        0,
        zero="no limit",
        minimum=0,
    )

    # -- Balancer and keep-alive
    lb: str | None = setting(
        'Balancer in front, by name; "keepserve presets" lists them. Sets --lb-idle-timeout.',
        KEEP_ALIVE,
        Text("NAME"),
        None,
        unset="none named; clocks as for 60 s",
    )
    lb_idle_timeout: float = setting(
        "How long the balancer keeps an idle connection to us.",
        KEEP_ALIVE,
        DURATION,
        DEFAULT_LB_IDLE_TIMEOUT,
        zero="no balancer to outlast",
        formula="the preset's, else 60 s",
    )
    keep_alive_margin: float = setting(
        "How much longer than the balancer we keep it.", KEEP_ALIVE, DURATION, DEFAULT_KEEP_ALIVE_MARGIN
    )
    keep_alive_timeout: float = setting(
        "Idle clock: from ready (last byte flushed) to the first byte of a request.",
        KEEP_ALIVE,
        DURATION,
        _DERIVED,
        positive=True,
        formula="lb_idle_timeout + keep_alive_margin",
    )
    request_head_timeout: float = setting(
        "Head clock: from the first byte of a request to the end of its head.",
        KEEP_ALIVE,
        DURATION,
        10.0,
        positive=True,
    )
    headers_timeout: float = setting(
        "Envelope clock: from ready to the end of a head.",
        KEEP_ALIVE,
        DURATION,
        _DERIVED,
        positive=True,
        formula="keep_alive_timeout + request_head_timeout",
    )
    max_connection_requests: int = setting(
        "Requests after which an HTTP/1.1 connection is ended by Connection: close (±10 %).",
        KEEP_ALIVE,
        INTEGER,
        10_000,
        unit="requests",
        zero="no limit",
        minimum=0,
    )
    max_connection_age: float = setting(
        "Age after which a connection is ended by Connection: close on a response, or GOAWAY (±10 %).",
        KEEP_ALIVE,
        DURATION,
        3600.0,
        zero="no limit",
    )

    # -- HTTP/1.1
    http1: Literal["httptools", "h11"] = setting(
        "Parser of request heads.", HTTP1, Choice("httptools", "h11"), "httptools"
    )
    limit_request_line: int = setting(
        "Longest request line; longer ones get 414.", HTTP1, SIZE, 8 * _KIB, minimum=64, maximum=_MIB
    )
    limit_request_head: int = setting(
        "Largest request head; larger ones get 431.", HTTP1, SIZE, 32 * _KIB, minimum=128, maximum=16 * _MIB
    )
    limit_request_fields: int = setting(
        "Most fields in a request head; more get 431.",
        HTTP1,
        INTEGER,
        100,
        unit="fields",
        minimum=1,
        maximum=10_000,
    )
    limit_request_body: int = setting(
        "Largest request body; larger ones get 413.", HTTP1, SIZE, 0, zero="no limit", minimum=0
    )
    header: tuple[str, ...] = setting(
        'Field added to every response, "Name: value"; may be given several times.',
        HTTP1,
        FIELDS,
        (),
        unset="none",
    )
    server_header: bool = setting("Send the Server field.", HTTP1, FLAG, True)
    date_header: bool = setting("Send the Date field.", HTTP1, FLAG, True)

    # -- HTTP/2
    http2: Literal["native", "h2", "off"] = setting(
        "HTTP/2 engine: ours, the h2 library (slower, for comparison), or none.",
        HTTP2,
        Choice("native", "h2", "off"),
        "native",
    )
    h2c: bool = setting(
        "Accept HTTP/2 without TLS from clients that begin with its preface (prior knowledge).", HTTP2, FLAG, True
    )
    http2_max_streams: int = setting(
        "Requests a client may have open at once on a connection, and how many of them run.",
        HTTP2,
        INTEGER,
        100,
        unit="streams",
        minimum=1,
        maximum=10_000,
    )
    http2_max_connection_requests: int = setting(
        "Requests after which an HTTP/2 connection is ended by GOAWAY (±10 %).",
        HTTP2,
        INTEGER,
        0,
        unit="requests",
        zero="no limit",
        minimum=0,
    )
    http2_ping_interval: float = setting(
        "Silence after which a PING asks whether the peer is alive.", HTTP2, DURATION, 0.0, zero="never asked"
    )
    http2_ping_timeout: float = setting(
        "How long the answer to that PING may take.", HTTP2, DURATION, 20.0, positive=True
    )

    # -- WebSocket
    websocket: bool = setting(
        "Serve WebSocket, by Upgrade and by HTTP/2's extended CONNECT; otherwise an Upgrade is ignored.",
        WEBSOCKET,
        FLAG,
        True,
    )
    ws_max_message: int = setting(
        "Largest WebSocket message, after inflation; a larger one closes with 1009.",
        WEBSOCKET,
        SIZE,
        _MIB,
        minimum=125,
        maximum=1024 * _MIB,
    )
    ws_deflate: bool = setting(
        "Agree to compressed messages (permessage-deflate); costs each WebSocket some 40 KiB.",
        WEBSOCKET,
        FLAG,
        False,
    )
    ws_ping_interval: float = setting(
        "Time between two pings, so that the balancer never takes a quiet WebSocket for an idle connection.",
        WEBSOCKET,
        DURATION,
        _DERIVED,
        zero="no pings",
        formula="0.4 x lb_idle_timeout, at most 30 s",
    )
    ws_ping_timeout: float = setting(
        "How long a client may give no sign of life after a ping; then 1011.",
        WEBSOCKET,
        DURATION,
        20.0,
        positive=True,
    )

    # -- Time limits
    body_timeout: float = setting(
        "Longest wait for the next byte of a request body; then 408.", LIMITS, DURATION, 30.0, positive=True
    )
    body_min_rate: int = setting(
        "Slowest request body accepted, on average.", LIMITS, RATE, 500, zero="no minimum", minimum=0
    )
    body_rate_grace: float = setting("Time before body_min_rate applies.", LIMITS, DURATION, 20.0)
    write_timeout: float = setting(
        "Longest time without any byte of a response leaving.", LIMITS, DURATION, 60.0, positive=True
    )
    write_min_rate: int = setting(
        "Slowest reading of a response accepted, on average.", LIMITS, RATE, 500, zero="no minimum", minimum=0
    )
    write_rate_grace: float = setting("Time before write_min_rate applies.", LIMITS, DURATION, 30.0)
    linger_timeout: float = setting(
        "Longest reading on after an early answer, before the close.", LIMITS, DURATION, 30.0
    )
    linger_idle_timeout: float = setting("Longest wait for the next byte while reading on.", LIMITS, DURATION, 5.0)
    linger_bytes: int = setting("Most bytes discarded while reading on.", LIMITS, SIZE, 8 * _MIB, minimum=0)

    # -- Load
    limit_concurrency: int | None = setting(
        "Requests running at once in a worker; more wait for limit_concurrency_wait, then get 503.",
        LOAD,
        INTEGER,
        None,
        unit="requests",
        minimum=1,
        unset="no limit",
    )
    limit_concurrency_wait: float = setting(
        "How long a request above limit_concurrency waits for its turn.",
        LOAD,
        DURATION,
        1.0,
        zero="503 at once",
    )
    limit_connections: int | None = setting(
        "Connections a worker keeps; near it the longest idle are closed, at it none is accepted.",
        LOAD,
        INTEGER,
        None,
        unit="connections",
        minimum=1,
        unset="what the limit on open files leaves",
    )

    # -- Starting and stopping
    startup_timeout: float = setting(
        "Time the application has for its startup.", STOPPING, DURATION, 60.0, zero="no limit"
    )
    health_path: str | None = setting(
        "Path answered by keepserve itself, for health checks: 200 when ready, 503 when draining.",
        STOPPING,
        Text("PATH"),
        None,
        unset="none",
    )
    drain_delay: float = setting(
        "How long a stop only announces itself (health 503, Connection: close) before it closes the listeners.",
        STOPPING,
        DURATION,
        0.0,
        formula="the preset's, else 0 s",
    )
    drain_idle: float = setting("How long idle connections stay usable after a stop.", STOPPING, DURATION, 5.0)
    roll_idle: float = setting(
        "How long idle connections stay usable when their worker is replaced (reload, --max-requests ...).",
        STOPPING,
        DURATION,
        _DERIVED,
        formula="keep_alive_timeout, at most 120 s",
    )
    drain_timeout: float = setting("Time running requests have to finish after a stop.", STOPPING, DURATION, 20.0)
    drain_cancel: float = setting("Time cancelled requests have to clean up.", STOPPING, DURATION, 3.0)
    shutdown_timeout: float = setting("Time the application has for its shutdown.", STOPPING, DURATION, 5.0)
    stop_grace: float | None = setting(
        "When the orchestrator kills us after the stop signal; checked against the drain times.",
        STOPPING,
        DURATION,
        None,
        positive=True,
        unset="unknown",
    )

    # -- Trust
    proxy_headers: bool = setting(
        "Believe what trusted peers say of the client in X-Forwarded-For and -Proto, or in Forwarded.",
        TRUST,
        FLAG,
        True,
    )
    forwarded_allow_ips: tuple[str, ...] = setting(
        'Trusted peers: addresses, networks, unix, or "*" for all; separated by commas.',
        TRUST,
        TRUSTED_PEERS,
        (),
        also_env=("FORWARDED_ALLOW_IPS",),
        unset="nobody",
    )
    forwarded_header: Literal["x-forwarded", "forwarded"] = setting(
        "Which fields they are read from: X-Forwarded-*, or Forwarded (RFC 7239); the others are ignored.",
        TRUST,
        Choice("x-forwarded", "forwarded"),
        "x-forwarded",
    )
    forwarded_host: bool = setting(
        "Believe also X-Forwarded-Host and -Port, or host= of Forwarded; they replace the Host field.",
        TRUST,
        FLAG,
        False,
    )
    proxy_protocol: Literal["off", "require"] = setting(
        "PROXY protocol (1 or 2) in front of TLS and HTTP; require: a connection without its header is closed.",
        TRUST,
        Choice("off", "require"),
        "off",
    )
    proxy_protocol_from: tuple[str, ...] = setting(
        'Who may send that header: addresses, networks, unix, or "*" for all; others are closed.',
        TRUST,
        TRUSTED_PEERS,
        (),
        unset="nobody",
    )
    proxy_protocol_timeout: float = setting("Longest wait for that header.", TRUST, DURATION, 3.0, positive=True)

    # -- TLS
    ssl_keyfile: str | None = setting("Private key, PEM file.", TLS, FILE, None, unset="none")
    ssl_certfile: str | None = setting("Certificate chain, PEM file.", TLS, FILE, None, unset="none")
    ssl_keyfile_password: str | None = setting(
        "Password of the private key.", TLS, Text("PASSWORD"), None, secret=True, unset="none"
    )
    ssl_ca_certs: str | None = setting(
        "Authorities that sign client certificates, PEM file.", TLS, FILE, None, unset="none"
    )
    ssl_cert_reqs: Literal["none", "optional", "required"] = setting(
        "Whether clients must show a certificate.",
        TLS,
        # The numbers are ssl.CERT_NONE and its sisters, which uvicorn takes.
        Choice("none", "optional", "required", numbers={0: "none", 1: "optional", 2: "required"}),
        "none",
    )
    ssl_ciphers: str | None = setting(
        "Ciphers for TLS 1.2, in OpenSSL's notation.", TLS, Text("CIPHERS"), None, unset="Python's choice"
    )
    tls_handshake_timeout: float = setting("Longest TLS handshake.", TLS, DURATION, 10.0, positive=True)
    tls_shutdown_timeout: float = setting("Longest TLS goodbye.", TLS, DURATION, 3.0, positive=True)

    # -- Logging
    log_level: Literal["critical", "error", "warning", "info", "debug", "trace"] = setting(
        "Least important messages to log.",
        LOGGING,
        Choice("critical", "error", "warning", "info", "debug", "trace", numbers=_PYTHON_LEVELS),
        "info",
    )
    log_file: str | None = setting(
        "File the server's log is appended to; opened anew at SIGUSR1.", LOGGING, FILE, None, unset="standard error"
    )
    access_log_file: str | None = setting(
        "File the access log is appended to; opened anew at SIGUSR1.", LOGGING, FILE, None, unset="standard output"
    )
    log_config: str | None = setting(
        "Logging configuration file: .ini, .json, .toml or .yaml.", LOGGING, FILE, None, unset="none"
    )
    access_log: bool = setting("Write a line for each request.", LOGGING, FLAG, True)
    log_format: Literal["text", "json"] = setting("Form of the log lines.", LOGGING, Choice("text", "json"), "text")
    access_log_format: str | None = setting(
        'Form of access lines: text, combined, json, or fields as in "{client_host} {request} {status}".',
        LOGGING,
        LOG_FORMAT,
        None,
        unset="log_format",
    )
    use_colors: bool | None = setting("Colours in the log.", LOGGING, FLAG, None, unset="on a terminal")

    # -- Watching
    admin: str | None = setting(
        "Where to watch the server (a page at /, /status, /metrics): 127.0.0.1:9090, :9090 or unix:path.",
        WATCHING,
        Text("ADDRESS"),
        None,
        unset="nowhere",
    )
    admin_allow_public: bool = setting(
        "Let --admin be an address that other machines reach: whoever reaches it may look.", WATCHING, FLAG, False
    )

    def __post_init__(self) -> None:
        # object.__setattr__ because the class is frozen; only the two computed defaults are filled in.
        if is_derived(self.keep_alive_timeout):
            idle = self.lb_idle_timeout or DEFAULT_LB_IDLE_TIMEOUT
            object.__setattr__(self, "keep_alive_timeout", idle + self.keep_alive_margin)
        if is_derived(self.headers_timeout):
            object.__setattr__(self, "headers_timeout", self.keep_alive_timeout + self.request_head_timeout)
        if is_derived(self.ws_ping_interval):
            idle = self.lb_idle_timeout or DEFAULT_LB_IDLE_TIMEOUT
            object.__setattr__(self, "ws_ping_interval", min(PING_SHARE * idle, LONGEST_PING_INTERVAL))
        if is_derived(self.roll_idle):
            object.__setattr__(self, "roll_idle", min(self.keep_alive_timeout, LONGEST_ROLL_IDLE))

    @property
    def advertised_keep_alive(self) -> int:
        """Whole seconds for ``Keep-Alive: timeout=N``; 0: do not send it.

        Smaller than our idle clock by the margin, and never more than the balancer's own idle timeout, so
        that a peer that reads it closes first.
        """
        seconds = self.keep_alive_timeout - self.keep_alive_margin
        if self.lb_idle_timeout:
            seconds = min(seconds, self.lb_idle_timeout)
        return max(0, int(seconds))

    @property
    def stop_budget(self) -> float:
        """Seconds a stop may take by the settings: its phases one after the other."""
        return self.drain_delay + self.drain_timeout + self.drain_cancel + self.shutdown_timeout

    @property
    def roll_budget(self) -> float:
        """Seconds a worker may take to leave while others serve on; mostly it is gone after ``roll_idle``.

        A request that comes on an idle connection in the last moment has its full time.
        """
        return self.roll_idle + self.drain_timeout + self.drain_cancel + self.shutdown_timeout

    @property
    def response_fields(self) -> list[tuple[bytes, bytes]]:
        """The ``header`` settings as (name, value) pairs, as they go on the wire."""
        pairs = (line.partition(":") for line in self.header)
        return [(name.strip().encode("latin-1"), value.strip().encode("latin-1")) for name, _, value in pairs]


FIELDS_BY_NAME: dict[str, Info] = describe(Settings)
"""Every setting's description, in the order of declaration (which is the order of the groups)."""

GROUPS: tuple[str, ...] = tuple(dict.fromkeys(info.group for info in FIELDS_BY_NAME.values()))
"""The subjects settings are grouped by, in the order of the help."""
