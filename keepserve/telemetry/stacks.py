"""What every running asyncio task is doing, as text for the log.

The stacks of threads come from `faulthandler`, which works without the event loop; this needs it to turn.
"""

from __future__ import annotations

import asyncio
import gc
import traceback
from collections.abc import Iterable, Iterator, Mapping
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any, Final

MOST_TASKS: Final = 100
MOST_FRAMES: Final = 8

_SUSPENDED = (CoroutineType, GeneratorType, AsyncGeneratorType)


def dump_stacks(
    tasks: Iterable[asyncio.Task[Any]],
    titles: Mapping[asyncio.Task[Any], str],
    *,
    most_tasks: int = MOST_TASKS,
    most_frames: int = MOST_FRAMES,
) -> str:
    """Several lines: each task that has not ended, and its innermost frames, the innermost last.

    Tasks with a title come first, in the order of ``titles``, under that title; the others under their names.
    At most ``most_tasks`` tasks and ``most_frames`` frames of each; what is left out is counted.
    """
    running = {task for task in tasks if not task.done()}
    titled = [task for task in titles if task in running]
    others = sorted(running.difference(titled), key=lambda task: task.get_name())
    lines = [f"{_count(len(running), 'task')}, {len(titled)} of them for a request"]
    for task in [*titled, *others][:most_tasks]:
        title = titles.get(task)
        lines.append(f"{title} ({task.get_name()})" if title is not None else task.get_name())
        lines += _stack(task, most_frames)
    if len(running) > most_tasks:
        lines.append(f"{_count(len(running) - most_tasks, 'more task')} left out")
    return "\n".join(lines)


def _stack(task: asyncio.Task[Any], most: int) -> Iterator[str]:
    frames = list(_frames(task.get_coro()))
    if len(frames) > most:
        yield f"  ({_count(len(frames) - most, 'outer frame')} left out)"
    summary = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames[-most:])
    for entry in summary:
        yield f"  {entry.filename}:{entry.lineno} in {entry.name}: {entry.line or ''}".rstrip(": ")
    if not frames:
        yield "  (no Python code)"


def _frames(awaited: object) -> Iterator[FrameType]:
    """The frames of a suspended coroutine, outermost first: `asyncio.Task.get_stack` has only the first."""
    seen: set[int] = set()
    while awaited is not None and id(awaited) not in seen:
        seen.add(id(awaited))
        if isinstance(awaited, CoroutineType):
            frame, awaited = awaited.cr_frame, awaited.cr_await
        elif isinstance(awaited, GeneratorType):
            frame, awaited = awaited.gi_frame, awaited.gi_yieldfrom
        elif isinstance(awaited, AsyncGeneratorType):
            frame, awaited = awaited.ag_frame, awaited.ag_await
        else:
            awaited = _behind(awaited)
            continue
        if frame is not None:
            yield frame


def _behind(awaited: object) -> object:
    """What ``async for`` and ``__await__`` of built-in types hide: the garbage collector sees through them."""
    if isinstance(awaited, asyncio.Future):
        return None
    return next((one for one in gc.get_referents(awaited) if isinstance(one, _SUSPENDED)), None)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
