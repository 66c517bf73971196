"""The choices of ``--http2``."""

from __future__ import annotations

from typing import Protocol

from keepserve.http2.encoding import EncodedFields
from keepserve.http2.native import NativeEngine
from keepserve.http2.session import Session
from keepserve.wire.engine import Limits


class MakesEngine(Protocol):
    """Makes the engine of one connection."""

    def __call__(
        self, limits: Limits, defaults: EncodedFields, now: float, *, max_requests: int = 0, max_age: float = 0.0
    ) -> Session:
        """As ``Session``; ``defaults`` are the fields every response carries."""


def _library(
    limits: Limits, defaults: EncodedFields, now: float, *, max_requests: int = 0, max_age: float = 0.0
) -> Session:
    # Loaded when it is asked for: h2 takes longer to import than all of the native engine.
    from keepserve.http2.library import LibraryEngine

    return LibraryEngine(limits, defaults, now, max_requests=max_requests, max_age=max_age)


ENGINES: dict[str, MakesEngine] = {"native": NativeEngine, "h2": _library}
