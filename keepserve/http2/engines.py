"""The choices of ``--http2``."""

from __future__ import annotations

from typing import Protocol

from keepserve.http2.encoding import EncodedFields
from keepserve.http2.library import LibraryEngine
from keepserve.http2.native import NativeEngine
from keepserve.http2.session import Session
from keepserve.wire.engine import Limits


class MakesEngine(Protocol):
    """Makes the engine of one connection."""

    def __call__(
        self, limits: Limits, defaults: EncodedFields, now: float, *, max_requests: int = 0, max_age: float = 0.0
    ) -> Session:
        """As ``Session``; ``defaults`` are the fields every response carries."""


ENGINES: dict[str, MakesEngine] = {"native": NativeEngine, "h2": LibraryEngine}
