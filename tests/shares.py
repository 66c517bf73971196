"""How the suite is shared out among several processes.

Two kinds of tests are in it. Some start servers, balancers and clients, and wait for clocks that really run; modules
of these stay whole, so that a fixture of a module starts its servers once. The others, thousands of them, only
compute. They are dealt out evenly between the first, so that processors have something to do while tests wait, and
tests with a deadline do not meet all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

REAL = ("balancers", "bench", "hostile", "process", "system", "apps", "clients", "admin", "grpc", "deploy")
"""Folders of tests of the first kind. What takes longest comes first: nobody is to wait for it at the end."""

WHOLE = ("balancers",)
"""Folders that one process runs from end to end: each of their modules keeps a machine busy, and two at once would
measure each other."""

SHARE = 50
"""How many tests of a module that only computes are handed over at once."""

Test = TypeVar("Test")


def shares(tests: Iterable[Test], name: Callable[[Test], str]) -> list[list[Test]]:
    """What stays together, in the order it is to begin; ``name`` gives the node id of a test."""
    modules: dict[str, list[Test]] = {}
    for test in tests:
        path = name(test).partition("::")[0]
        folder = path.split("/")[1]
        modules.setdefault(f"tests/{folder}/" if folder in WHOLE else path, []).append(test)
    waiting: list[tuple[int, list[Test]]] = []
    computing: list[list[Test]] = []
    for path, module in modules.items():
        folder = path.split("/")[1]
        if folder in REAL:
            waiting.append((REAL.index(folder), module))
        else:
            computing.extend(module[at : at + SHARE] for at in range(0, len(module), SHARE))
    waiting.sort(key=lambda entry: entry[0])
    dealt: list[list[Test]] = []
    for number, (_, module) in enumerate(waiting, start=1):
        dealt.append(module)
        due = len(computing) * number // len(waiting)
        dealt.extend(computing[len(dealt) - number : due])
    return dealt if waiting else computing


class Shares(LoadScopeScheduling):
    """Hands one share after the other to whoever has next to nothing left to do."""

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        """All processes have collected the same."""
        self._share_of = {test: str(number) for number, share in enumerate(shares(collection, str)) for test in share}
        super().add_node_collection(node, collection)

    def _split_scope(self, nodeid: str) -> str:
        return self._share_of[nodeid]
