"""The application of the JSON benchmark: a FastAPI route as people write them, with a model in and a model out."""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI(openapi_url=None)


class Item(BaseModel):
    """What the route answers with."""

    number: int
    name: str
    tags: list[str]


@app.get("/items/{number}")
async def read_item(number: int, tag: str = "new") -> Item:
    """Answer with an item of this number."""
    return Item(number=number, name=f"item {number}", tags=[tag, "measured"])
