"""The smoke test's application in Starlette."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from tests.apps.contract import HELLO, chunks


@contextlib.asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
    yield {"started": "by lifespan"}


async def hello(_: Request) -> PlainTextResponse:
    return PlainTextResponse(HELLO)


async def started(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.state.started)


async def stream(_: Request) -> StreamingResponse:
    return StreamingResponse(chunks(), media_type="text/plain")


async def upload(request: Request) -> PlainTextResponse:
    digest = hashlib.sha256()
    async for part in request.stream():
        digest.update(part)
    return PlainTextResponse(digest.hexdigest())


async def form(request: Request) -> PlainTextResponse:
    async with request.form() as fields:
        file = fields["file"]
        assert isinstance(file, UploadFile)
        return PlainTextResponse(f"{file.filename} {hashlib.sha256(await file.read()).hexdigest()}")


app = Starlette(
    routes=[
        Route("/hello", hello),
        Route("/lifespan", started),
        Route("/stream", stream),
        Route("/upload", upload, methods=["POST"]),
        Route("/form", form, methods=["POST"]),
    ],
    lifespan=lifespan,
)
