"""The smoke test's application in Quart."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

from quart import Quart, request

from tests.apps.contract import HELLO, chunks

app = Quart(__name__)


@app.before_serving
async def start() -> None:
    app.config["STARTED"] = "by lifespan"


@app.get("/hello")
async def hello() -> tuple[str, dict[str, str]]:
    return HELLO, {"content-type": "text/plain"}


@app.get("/lifespan")
async def started() -> str:
    return str(app.config["STARTED"])


@app.get("/stream")
async def stream() -> tuple[AsyncIterator[bytes], dict[str, str]]:
    return chunks(), {"content-type": "text/plain"}


@app.post("/upload")
async def upload() -> str:
    digest = hashlib.sha256()
    async for part in request.body:
        digest.update(part)
    return digest.hexdigest()


@app.post("/form")
async def form() -> str:
    file = (await request.files)["file"]
    return f"{file.filename} {hashlib.sha256(file.read()).hexdigest()}"
