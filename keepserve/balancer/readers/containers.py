"""Containers in manifests and task definitions: which one runs keepserve, and what it tells it."""

from __future__ import annotations

from collections.abc import Sequence as AnySequence

from keepserve.balancer.readers.tree import Mapping, Scalar


def chosen_container(containers: AnySequence[Mapping], words: tuple[str, ...], environment: str) -> Mapping | None:
    """The only container that names keepserve, or the only one there is; None when that cannot be told.

    ``words``: the keys of its command line; ``environment``: the key of its list of variables.
    """
    ours = containers_of_keepserve(containers, words, environment)
    return ours[0] if len(ours) == 1 else None


def containers_of_keepserve(
    containers: AnySequence[Mapping], words: tuple[str, ...], environment: str
) -> list[Mapping]:
    """All that name keepserve; where none does, the only one there is."""
    ours = [container for container in containers if _names_keepserve(container, words, environment)]
    return ours or (list(containers) if len(containers) == 1 else [])


def settings_note(container: Mapping, words: tuple[str, ...], environment: str) -> list[str]:
    """A note with the container's own KEEPSERVE_ variables and options, or none."""
    found = [
        f"{_name(entry)}={_value(entry)} ({entry.place})"
        for entry in container.sequence(environment).mappings()
        if _name(entry).startswith("KEEPSERVE_")
    ]
    line = _command_line(container, words)
    if any("keepserve" in word.text for word in line):
        following = [*line[1:], None]
        for word, value in zip(line, following, strict=True):
            if word.text.startswith("--"):
                apart = "=" not in word.text and value is not None and not value.text.startswith("-")
                option = f"{word.text} {value.text}" if apart and value is not None else word.text
                found.append(f"{option} ({word.place})")
    return [f"The container has its own settings, so check with the same ones: {', '.join(found)}."] if found else []


def _names_keepserve(container: Mapping, words: tuple[str, ...], environment: str) -> bool:
    if any("keepserve" in word.text for word in _command_line(container, words)):
        return True
    return any(_name(entry).startswith("KEEPSERVE_") for entry in container.sequence(environment).mappings())


def _command_line(container: Mapping, words: tuple[str, ...]) -> list[Scalar]:
    return [word for key in words for word in container.sequence(key).scalars()]


def _name(entry: Mapping) -> str:
    name = entry.scalar("name")
    return name.text if name is not None else ""


def _value(entry: Mapping) -> str:
    value = entry.scalar("value")
    return value.text if value is not None else "(set elsewhere)"
