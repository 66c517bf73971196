"""Options of other servers that people paste, and what to use instead.

Read by the command line for flags, and for the keyword arguments of `keepserve.run`.
"""

from __future__ import annotations

_LEAVE = "leave it out"
_LB = "better still name your balancer with --lb, which sets it"
_OWN_JITTER = f"keepserve spreads --max-requests by 10 % itself; {_LEAVE}"
_NO_WS_CHOICE = f"keepserve has one WebSocket implementation; {_LEAVE}, or use --no-websocket"
_NO_PATTERNS = f"keepserve watches whole directories; {_LEAVE} and use --reload-dir"

INSTEAD: dict[str, str] = {
    # uvicorn
    "--timeout-keep-alive": f"use --keep-alive-timeout, or {_LB}",
    "--timeout-graceful-shutdown": "use --drain-timeout, and --stop-grace to check the sum",
    "--timeout-worker-healthcheck": "use --worker-timeout",
    "--limit-max-requests": "use --max-requests",
    "--limit-max-requests-jitter": _OWN_JITTER,
    "--http": "use --http1 httptools or --http1 h11",
    "--ws": _NO_WS_CHOICE,
    "--ws-max-size": "use --ws-max-message",
    "--ws-max-queue": f"keepserve holds 32 messages for the application and then reads no more; {_LEAVE}",
    "--ws-per-message-deflate": "use --ws-deflate, which is off unless you ask for it",
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
    "-t": "use --worker-timeout",
    "-c": "use --env-file, or KEEPSERVE_ variables",
    "--worker-class": f"keepserve has one kind of worker; {_LEAVE}",
    "--threads": f"an ASGI worker is one event loop; {_LEAVE} and use --workers",
    "--worker-connections": "use --limit-connections, or --limit-concurrency, which counts running requests",
    "--keep-alive": f"use --keep-alive-timeout, or {_LB}",
    "--timeout": "use --worker-timeout",
    "--graceful-timeout": "use --drain-timeout, and --stop-grace to check the sum",
    "--max-requests-jitter": _OWN_JITTER,
    "--preload": f"keepserve's supervisor never imports the application; {_LEAVE}",
    "--chdir": "use --app-dir",
    "--config": "use --env-file, or KEEPSERVE_ variables",
    "--umask": "use --uds-permissions for Unix sockets",
    "--certfile": "use --ssl-certfile",
    "--keyfile": "use --ssl-keyfile",
    "--ca-certs": "use --ssl-ca-certs",
    "--ciphers": "use --ssl-ciphers",
    "--access-logfile": "use --access-log-file",
    "--access-logformat": "use --access-log-format, with names in braces in the place of letters: {status}",
    "--access-log-fmt": "use --access-log-format, with names in braces in the place of letters: {status}",
    "--error-logfile": "use --log-file",
    "--limit-request-field_size": "use --limit-request-head",
    "--proxy-allow-from": "use --proxy-protocol-from, with --proxy-protocol require",
    "--proxy-allow-ips": "use --proxy-protocol-from, with --proxy-protocol require",
    "--worker-tmp-dir": f"keepserve's workers need no heartbeat file; {_LEAVE}",
}
"""What to do instead of each foreign option; a clause that completes "keepserve has no --x: ..."."""
