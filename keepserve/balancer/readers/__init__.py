"""Reading balancers' own files: which kinds there are, which one a file is, and the bytes themselves.

Each kind is a module of this package with ``KIND``, ``TITLE``, ``looks_like(path, text)`` and ``read(path, text)``.
They are loaded when needed, so that a parser nobody asked for need not be installed. A file that is missing, broken,
half a file or of an unknown kind is an `UnreadableError`, never an empty reading.
"""

from __future__ import annotations

import os
import stat
from importlib import import_module
from typing import Protocol, cast

from keepserve.balancer.facts import Reading, UnreadableError

LARGEST = 8 * 1024 * 1024
"""Bytes; no configuration written by people or tools comes near it, a log or a dump given by mistake does."""

_NAMES = (
    "nginx",
    "haproxy",
    "envoy",
    "kubernetes",
    "traefik",
    "caddy",
    "aws",
    "ecs",
    "cloudformation",
    "compose",
    "systemd",
)
_BY_WORDS = ("nginx", "haproxy")
"""Kinds that are told by words of theirs, in a text that might hold them for another reason."""

_VERSIONED = ("nginx",)
"""Kinds whose defaults changed with a version, so that knowing it matters."""


class Reader(Protocol):
    """What a reader's module offers."""

    KIND: str
    TITLE: str

    def looks_like(self, path: str, text: str) -> bool:
        """Whether the text, by its words rather than its name, is of this kind. Never raises."""
        ...

    def read(self, path: str, text: str) -> Reading:
        """Everything the file says about connections to servers. Raises UnreadableError."""
        ...


class _VersionedReader(Protocol):
    def read(self, path: str, text: str, version: tuple[int, ...] | None) -> Reading: ...


def kinds() -> list[str]:
    """The kinds that can be read, as ``--balancer-kind`` takes them."""
    return list(_NAMES)


def read_balancer(path: str, kind: str | None = None, version: tuple[int, ...] | None = None) -> Reading:
    """Read one file of a balancer.

    ``kind`` forces a kind, otherwise the text decides. ``version`` is the balancer's, such as (1, 29, 7), for kinds
    whose defaults depend on it. Raises UnreadableError with a sentence that says what is wrong and what to do.
    """
    name = _known(kind) if kind is not None else None
    text = _text_of(path)
    if name is None:
        name = _detect(path, text)
    if name in _VERSIONED:
        return cast(_VersionedReader, _load(name)).read(path, text, version)
    return _load(name).read(path, text)


def read_aws(arn: str) -> Reading:
    """Ask AWS about a load balancer, with boto3. Raises UnreadableError."""
    from keepserve.balancer.readers.aws import live

    return live(arn)


def parse_version(text: str) -> tuple[int, ...]:
    """``1.29.7`` as numbers. Raises ValueError with a sentence."""
    parts = text.strip().removeprefix("v").split(".")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f'"{text}" is not a version: write numbers with dots, such as 1.29.7')
    return tuple(int(part) for part in parts)


def _known(kind: str) -> str:
    word = kind.strip().lower()
    if word not in kinds():
        raise UnreadableError(f'There is no reader for "{kind}". Kinds: {", ".join(kinds())}.')
    return word


def _load(name: str) -> Reader:
    return cast(Reader, import_module(f"{__name__}.{name}"))


def _detect(path: str, text: str) -> str:
    matching = [name for name in kinds() if _load(name).looks_like(path, text)]
    # A manifest may hold an nginx.conf as a text; it is a manifest all the same.
    matching = [name for name in matching if name not in _BY_WORDS] or matching
    if not matching:
        _explain_syntax(path, text)
        raise UnreadableError(
            f"{path}: this is of no kind that can be read, or only a part of one. Kinds: {', '.join(kinds())}. "
            "If it is one of them, say which with --balancer-kind; the message will then say what is wrong with it."
        )
    if len(matching) > 1:
        raise UnreadableError(
            f"{path}: this could be of kind {' or '.join(matching)}. Say which with --balancer-kind."
        )
    return matching[0]


def _explain_syntax(path: str, text: str) -> None:
    """Raise the syntax error of a broken YAML, JSON or TOML file, which nobody recognises."""
    # Imported when needed, as the readers are: serving takes none of them.
    from keepserve.balancer.readers import documents

    if path.endswith(".toml"):
        _load("traefik").read(path, text)
    elif path.endswith((".yaml", ".yml", ".json")) or text.lstrip()[0] in "{[":
        documents.load(path, text)


def _text_of(path: str) -> str:
    """The file's text, read once and bounded."""
    try:
        with open(path, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UnreadableError(f"{path}: this is not a regular file. Write the configuration to a file first.")
            content = file.read(LARGEST + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnreadableError(
            f"{path}: cannot be read ({reason}). Give the path of the balancer's own file."
        ) from None
    if len(content) > LARGEST:
        raise UnreadableError(f"{path}: larger than {LARGEST // 1024 // 1024} MiB, so hardly a configuration.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableError(f"{path}:{line}: this is not UTF-8 text, so hardly a configuration.") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UnreadableError(f"{path}:{line}: there is a zero byte, so this is hardly a configuration.")
    if not text.strip():
        raise UnreadableError(f"{path}: the file is empty.")
    return text
