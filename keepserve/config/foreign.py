"""Options of other servers that people paste, and what to use instead.

Read by the command line for flags, and for the keyword arguments of `keepserve.run`.
"""

from __future__ import annotations

_LEAVE = "leave it out"
_LB = "better still name your balancer with --lb, which sets it"
_NO_RECYCLING = (
    f"keepserve does not recycle workers after a number of requests; {_LEAVE} "
    "(--max-connection-requests limits a connection)"
)
_NO_WS_CHOICE = f"keepserve has no choice of WebSocket implementations; {_LEAVE}"
_NO_PATTERNS = f"keepserve watches whole directories; {_LEAVE} and use --reload-dir"
_LOG_TO_STREAMS = f"keepserve logs to standard output and error; {_LEAVE}, or use --log-config"

INSTEAD: dict[str, str] = {
    # uvicorn
    "--timeout-keep-alive": f"use --keep-alive-timeout, or {_LB}",
    "--timeout-graceful-shutdown": "use --drain-timeout, and --stop-grace to check the sum",
    "--timeout-worker-healthcheck": f"keepserve's supervisor sees a dead worker at once; {_LEAVE}",
    "--limit-max-requests": _NO_RECYCLING,
    "--limit-max-requests-jitter": _NO_RECYCLING,
    "--http": "use --http1 httptools or --http1 h11",
    "--ws": _NO_WS_CHOICE,
    "--ws-max-size": _NO_WS_CHOICE,
    "--ws-max-queue": _NO_WS_CHOICE,
    "--ws-ping-interval": _NO_WS_CHOICE,
    "--ws-ping-timeout": _NO_WS_CHOICE,
    "--ws-per-message-deflate": _NO_WS_CHOICE,
    "--interface": f"keepserve serves ASGI 3 applications; {_LEAVE} (a WSGI application needs an adapter)",
    "--h11-max-incomplete-event-size": "use --limit-request-head",
    "--reload-include": _NO_PATTERNS,
    "--reload-exclude": _NO_PATTERNS,
    "--reload-delay": f"keepserve is told of changes by the system and needs no delay; {_LEAVE}",
    "--ssl-version": f"keepserve takes TLS 1.2 and newer; {_LEAVE}",
    # gunicorn and hypercorn
    "-b": "use --bind",
    "-w": "use --workers",
    "-k": f"keepserve has one kind of worker; {_LEAVE}",
    "-t": "use --drain-timeout for stops; keepserve limits requests by --body-timeout and --write-timeout",
    "-c": "use --env-file, or KEEPSERVE_ variables",
    "--worker-class": f"keepserve has one kind of worker; {_LEAVE}",
    "--threads": f"an ASGI worker is one event loop; {_LEAVE} and use --workers",
    "--worker-connections": "use --limit-concurrency, which counts running requests",
    "--keep-alive": f"use --keep-alive-timeout, or {_LB}",
    "--timeout": "use --drain-timeout for stops; keepserve limits requests by --body-timeout and --write-timeout",
    "--graceful-timeout": "use --drain-timeout, and --stop-grace to check the sum",
    "--max-requests": _NO_RECYCLING,
    "--max-requests-jitter": _NO_RECYCLING,
    "--preload": f"keepserve's supervisor never imports the application; {_LEAVE}",
    "--chdir": "use --app-dir",
    "--config": "use --env-file, or KEEPSERVE_ variables",
    "--umask": "use --uds-permissions for Unix sockets",
    "--certfile": "use --ssl-certfile",
    "--keyfile": "use --ssl-keyfile",
    "--ca-certs": "use --ssl-ca-certs",
    "--ciphers": "use --ssl-ciphers",
    "--access-logfile": _LOG_TO_STREAMS,
    "--access-logformat": "use --log-format text or --log-format json",
    "--error-logfile": _LOG_TO_STREAMS,
    "--limit-request-field_size": "use --limit-request-head",
    "--worker-tmp-dir": f"keepserve's workers need no heartbeat file; {_LEAVE}",
}
"""What to do instead of each foreign option; a clause that completes "keepserve has no --x: ..."."""
