"""The smoke test's application in Django, which raises on the lifespan protocol as its way to decline it."""

from __future__ import annotations

import hashlib

from django.conf import settings  # type: ignore[import-untyped]  # Django has no types of its own

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="only for the smoke test",
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)

# Django reads its settings while these are imported.
from django.core.asgi import get_asgi_application  # type: ignore[import-untyped]  # noqa: E402
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse  # type: ignore[import-untyped]  # noqa: E402
from django.urls import path  # type: ignore[import-untyped]  # noqa: E402

from tests.apps.contract import HELLO, chunks  # noqa: E402


async def hello(_: HttpRequest) -> HttpResponse:
    return HttpResponse(HELLO, content_type="text/plain")


async def stream(_: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(chunks(), content_type="text/plain")


def upload(request: HttpRequest) -> HttpResponse:
    """A synchronous view, as most of Django's are: it runs in a thread."""
    digest = hashlib.sha256()
    while part := request.read(65536):
        digest.update(part)
    return HttpResponse(digest.hexdigest(), content_type="text/plain")


def form(request: HttpRequest) -> HttpResponse:
    file = request.FILES["file"]
    return HttpResponse(f"{file.name} {hashlib.sha256(file.read()).hexdigest()}", content_type="text/plain")


urlpatterns = [path("hello", hello), path("stream", stream), path("upload", upload), path("form", form)]

app = get_asgi_application()
