"""Access lines as log records, for a ``--log-config`` that configures the logger ``keepserve.access``."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from keepserve.telemetry.access import AccessLog, new_form
from keepserve.telemetry.formats import Facts, getter_of, take_note
from keepserve.telemetry.lines import Form, TextLines

if TYPE_CHECKING:
    from keepserve.asgi.exchange import Exchange
    from keepserve.server.hosting import Hosting

WEIGHT: Final = 2048
"""Bytes that a request waiting for a handler is counted as."""

_TEXTS: Final = {
    name: getter_of(name)
    for name in (
        "protocol",
        "scheme",
        "host",
        "peer",
        "proxy_source",
        "forwarded_for",
        "user_agent",
        "referer",
        "amzn_trace_id",
        "traceparent",
        "request_id",
        "tls_version",
        "close_reason",
        "stream",
    )
}
"""Attributes that are fields of the formats, rendered alike: escaped, and ``-`` where there is nothing."""

_logger = logging.getLogger("keepserve.access")


class RecordLog(AccessLog):
    """An access log whose requests become records of the logger ``keepserve.access``.

    Their attributes are ``client``, ``method``, ``target`` (bytes, as sent), ``http_version``, ``status``, ``sent``
    (bytes of the body), ``duration`` and ``first_byte`` (seconds), ``connection_id``, ``connection_requests``, and
    fields of the formats: ``protocol``, ``stream``, ``scheme``, ``host``, ``peer``, ``proxy_source``,
    ``forwarded_for``, ``user_agent``, ``referer``, ``amzn_trace_id``, ``traceparent``, ``request_id``,
    ``tls_version`` and ``close_reason``. The message is the line, in the text format without its time, or in the
    ``access_log_format`` there is.
    """

    def log(self, connection: Hosting, exchange: Exchange, status: int, ended: float) -> None:
        """Take down one request; a few microseconds, never blocks, never raises."""
        if len(self._notes) * WEIGHT >= self._queue_limit:
            self._refused += 1
            self._report(self._clock())
            return
        facts = Facts(take_note(connection, exchange, status, ended), time.time() - ended)
        request = exchange.request
        facts.headers = dict(request.fields)
        # All of it now: handlers may be slow, and are not to hold what belongs to the request.
        values: dict[str, Any] = {
            "client": facts.client,
            "method": request.method.decode("latin-1"),
            "target": request.target,
            "http_version": request.http_version,
            "status": status,
            "sent": exchange.sent,
            "duration": ended - exchange.started,
            "first_byte": facts.first_byte,
            "connection_id": connection.number,
            "connection_requests": connection.engine.requests,
        }
        for name, get in _TEXTS.items():
            values[name] = get(facts) or "-"
        line = self._form.lines([self._note(connection, exchange, status, ended)], facts.wall - ended)
        self._notes.append((facts.wall, line[:-1], values))
        self._wake_up()

    def _new_form(self) -> Form:
        name = self._settings.access_log_format or "text"
        # Without the time, which is the formatter's to add.
        return TextLines(colors=False, stamped=False) if name == "text" else new_form(name)

    def _work(self) -> None:
        notes = self._notes
        while notes:
            now, line, values = notes.pop(0)
            try:
                _logger.handle(self._record(now, line, values))
            except Exception:
                # A handler of the user's that raises must not end the thread, nor with it the log.
                self._failed += 1

    def _render_notes(self) -> None:
        """Nothing is rendered ahead."""

    def _record(self, now: float, line: str, values: dict[str, Any]) -> logging.LogRecord:
        record = _logger.makeRecord(_logger.name, logging.INFO, __file__, 0, "%s", (line,), None, extra=values)
        # The time of the request, not of the batch.
        record.created = now
        record.msecs = now % 1 * 1000
        return record
