"""The smoke test's application in Litestar."""

# No "from __future__ import annotations": Litestar reads the types of the handlers while they are defined.

import hashlib
from typing import Annotated

from litestar import Litestar, MediaType, Request, get, post
from litestar.datastructures import State, UploadFile
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Stream

from tests.apps.contract import HELLO, chunks


@get("/hello", media_type=MediaType.TEXT)
async def hello() -> str:
    return HELLO


@get("/lifespan", media_type=MediaType.TEXT)
async def started(state: State) -> str:
    return str(state.started)


@get("/stream", media_type=MediaType.TEXT)
async def stream() -> Stream:
    return Stream(chunks())


@post("/upload", media_type=MediaType.TEXT, status_code=200)
async def upload(request: Request) -> str:  # type: ignore[type-arg]  # user, auth and state are not used here
    digest = hashlib.sha256()
    async for part in request.stream():
        digest.update(part)
    return digest.hexdigest()


@post("/form", media_type=MediaType.TEXT, status_code=200)
async def form(data: Annotated[dict[str, UploadFile], Body(media_type=RequestEncodingType.MULTI_PART)]) -> str:
    file = data["file"]
    return f"{file.filename} {hashlib.sha256(await file.read()).hexdigest()}"


async def start(app: Litestar) -> None:
    app.state.started = "by lifespan"


app = Litestar([hello, started, stream, upload, form], on_startup=[start])
