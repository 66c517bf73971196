"""The smoke test's application in FastAPI."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, UploadFile
from fastapi.responses import PlainTextResponse, StreamingResponse

from tests.apps.contract import HELLO, chunks


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
    yield {"started": "by lifespan"}


app = FastAPI(lifespan=lifespan)


@app.get("/hello")
async def hello() -> PlainTextResponse:
    return PlainTextResponse(HELLO)


@app.get("/lifespan")
async def started(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.state.started)


@app.get("/stream")
async def stream() -> StreamingResponse:
    return StreamingResponse(chunks(), media_type="text/plain")


@app.post("/upload")
async def upload(request: Request) -> PlainTextResponse:
    digest = hashlib.sha256()
    async for part in request.stream():
        digest.update(part)
    return PlainTextResponse(digest.hexdigest())


@app.post("/form")
async def form(file: UploadFile) -> PlainTextResponse:
    return PlainTextResponse(f"{file.filename} {hashlib.sha256(await file.read()).hexdigest()}")
