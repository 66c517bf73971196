"""Why connections close: one value per connection, feeding the response field, the log and the counter."""

from __future__ import annotations

import enum


class CloseReason(enum.Enum):
    """The one reason a connection closed for.

    The value is the name used in logs and metrics. The first group is ordinary life, the second
    are limits of ours that a peer ran into, the third are faults of the application, the last is
    the end of the server itself.
    """

    PEER_CLOSED = "peer_closed"
    """The peer closed an idle connection: what a load balancer's own idle timeout looks like."""
    PEER_LEFT = "peer_left"
    """The peer went away while a request or its response was still under way."""
    PEER_RESET = "peer_reset"
    """The connection broke with an error (RST, time-out in the kernel)."""
    CLIENT_ASKED = "client_asked"
    """The request said ``Connection: close``, or was HTTP/1.0 without ``keep-alive``."""
    IDLE_TIMEOUT = "idle_timeout"
    """``keep_alive_timeout`` passed without a request: we closed first. Behind a balancer this is an alarm."""
    WEBSOCKET_CLOSED = "websocket_closed"
    """A WebSocket was closed by its client or by the application."""
    MAX_REQUESTS = "max_requests"
    """``max_connection_requests`` was reached and announced on a response."""
    MAX_AGE = "max_age"
    """``max_connection_age`` was reached and announced on a response."""

    TLS_FAILED = "tls_failed"
    """The peer did not speak TLS, nothing was agreed on in the handshake, or a record was not what it should be."""
    TLS_TIMEOUT = "tls_timeout"
    """The handshake took longer than ``tls_handshake_timeout``."""
    PROXY_HEADER = "proxy_header"
    """The PROXY protocol's header was missing, faulty or late, or came from a peer that may not send one."""
    HEAD_TIMEOUT = "head_timeout"
    """``request_head_timeout`` or ``headers_timeout`` passed inside a request head (408)."""
    BODY_TIMEOUT = "body_timeout"
    """A request body stalled for ``body_timeout`` or fell below ``body_min_rate`` (408)."""
    WRITE_STALL = "write_stall"
    """The peer stopped reading a response for ``write_timeout``, or read below ``write_min_rate``."""
    BAD_REQUEST = "bad_request"
    """The request broke the protocol or a size limit; the answer said which."""
    UNREAD_BODY = "unread_body"
    """The application answered without reading a request body too long to discard."""
    PROTOCOL_ERROR = "protocol_error"
    """The peer broke a rule of HTTP/2 or WebSocket that concerns the whole connection; we said which."""
    FLOOD = "flood"
    """The peer sent more resets, control frames or unread work than is reasonable (ENHANCE_YOUR_CALM, 1008)."""
    SETTINGS_TIMEOUT = "settings_timeout"
    """The peer did not acknowledge our HTTP/2 settings in time."""
    PING_TIMEOUT = "ping_timeout"
    """The peer did not answer a PING in time (``http2_ping_interval``, ``ws_ping_interval``): it is gone."""

    APP_ASKED = "app_asked"
    """The application's response carried ``Connection: close``."""
    APP_FAILED = "app_failed"
    """The application raised or returned after its response had begun, or before reading its request."""
    APP_FRAMING = "app_framing"
    """The application's body did not have the length its ``Content-Length`` promised."""
    LENGTH_UNKNOWN = "length_unknown"
    """A response of unknown length to an HTTP/1.0 client: the close is what ends the body."""

    EVICTED = "evicted"
    """Connections or file descriptors were nearly used up: idle for longest, or told so with its last response."""
    DRAINING = "draining"
    """The server is stopping and said so on a response, or closed the idle connection after its grace."""
    CUT = "cut"
    """The server stopped before the exchange was finished: its drain limit had passed."""
    WORKER_DIED = "worker_died"
    """The worker's process ended with the connection open: it was killed or crashed. The supervisor counts it."""
