"""Logs, the access log and the reasons connections close for (floor 0)."""

from keepserve.telemetry.access import AccessLog, open_access_log
from keepserve.telemetry.logs import configure_logging
from keepserve.telemetry.reopen import reopen_logs

__all__ = ["AccessLog", "configure_logging", "open_access_log", "reopen_logs"]
