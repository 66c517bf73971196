"""``--health-path``: the health checks of balancers and orchestrators, answered without the application.

200 while the server serves, 503 from the moment it is told to stop. A worker that is only being replaced goes
on saying 200 on the connections it has: the server is healthy, and a balancer must not take it out. Before a
worker is ready nobody listens, so that a check made then is refused.

Paths are compared as they were sent, without the query, and without ``root_path``.
"""

from __future__ import annotations

from keepserve.server.phases import Phase

Fields = list[tuple[bytes, bytes]]


class HealthCheck:
    """The answers to health checks on ``path``, which begins with "/"."""

    def __init__(self, path: str) -> None:
        self._path = path.encode()
        self._with_query = self._path + b"?"

    def concerns(self, target: bytes) -> bool:
        """Whether a request for ``target`` is a health check."""
        return target == self._path or target.startswith(self._with_query)

    def answer(self, method: bytes, phase: Phase, leaving: bool) -> tuple[int, Fields, bytes]:
        """Status, fields and body; the body of a HEAD is left out by the engine."""
        if method not in (b"GET", b"HEAD", b"OPTIONS"):  # HAProxy's httpchk asks by OPTIONS unless told otherwise
            text = b"A health check is a GET, a HEAD or an OPTIONS.\n"
            return 405, [*_fields(b"text/plain; charset=utf-8", text), (b"allow", b"GET, HEAD, OPTIONS")], text
        if phase == Phase.SERVING or leaving:
            text = b'{"status":"ready"}\n'
            return 200, _fields(b"application/json", text), text
        text = b'{"status":"draining","phase":"%b"}\n' % phase.name.lower().encode()
        return 503, _fields(b"application/json", text), text


def _fields(kind: bytes, text: bytes) -> Fields:
    return [(b"content-type", kind), (b"content-length", b"%d" % len(text)), (b"cache-control", b"no-store")]
