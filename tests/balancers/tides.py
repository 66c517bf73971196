"""Clients of several balancers at once: floods of mixed requests, and silences about an idle timeout long between.

In a silence all of a balancer's connections to the server rest; at the end of it they have done so for about its
idle timeout. So each flood finds some that are about to be closed, or were a moment ago. That goes for HTTP/1.1,
where a connection rests between requests, and for HTTP/2, where it does so only when all clients pause.

Each client keeps its connection to the balancer, and has an address of its own, which the application has to see.

Runs in a process of its own: ``python -m tests.balancers.tides '{"ports": {"nginx": 8080}}'`` says ``going`` when
every balancer has passed a flood on, goes on until its standard input ends, and prints its reports as JSON, by name.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import sys

import uvloop

from tests.balancers.bodies import pattern
from tests.balancers.load import Client, Report, Request, choose


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What the clients do. ``ports`` are the balancers', by name.

    A silence lasts ``idle`` seconds less up to ``early`` or more up to ``late``. A flood takes some time itself, so
    that its first connections have rested longer than its last ones; hence the larger ``early``.

    In a flood each of ``clients`` sends 1 to ``longest`` requests, one after the other. The first is a POST for which
    the application takes 20 ms, so that there are many at once.
    """

    ports: dict[str, int]
    clients: int = 16
    longest: int = 6
    idle: float = 1.0
    early: float = 0.1
    late: float = 0.02
    seed: int = 1


class Tide:
    """One balancer's clients."""

    def __init__(self, plan: Plan, number: int, name: str) -> None:
        self.report = Report()
        self._plan = plan
        self._source = random.Random(f"{plan.seed} {name}")
        self._clients = [
            Client(plan.ports[name], self.report, address=f"127.1.{number}.{1 + place}", front=name)
            for place in range(plan.clients)
        ]
        self.flowed = asyncio.Event()
        """A flood is through."""

    async def run(self, end: asyncio.Event) -> Report:
        """Floods until ``end``, and the rest of the last one."""
        plan = self._plan
        while True:
            await asyncio.gather(*(self._flood(client) for client in self._clients))
            self.flowed.set()
            if end.is_set():
                break
            await asyncio.sleep(plan.idle + self._source.uniform(-plan.early, plan.late))
        for client in self._clients:
            client.close()
        return self.report

    async def _flood(self, client: Client) -> None:
        body = pattern(self._source.randrange(1, 3000))
        await client.ask(Request("POST slow", "POST /slow/20", body, body))
        for _ in range(self._source.randrange(self._plan.longest)):
            await client.ask(choose(self._source))


async def run(plan: Plan) -> dict[str, Report]:
    """Run the plan until standard input ends."""
    end = asyncio.Event()
    tides = {name: Tide(plan, number, name) for number, name in enumerate(plan.ports)}
    running = [asyncio.create_task(tide.run(end)) for tide in tides.values()]
    for tide in tides.values():
        await tide.flowed.wait()
    print("going", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    end.set()
    return dict(zip(tides, await asyncio.gather(*running), strict=True))


def main() -> None:
    """Run the plan given as JSON; print the reports as JSON."""
    reports = uvloop.run(run(Plan(**json.loads(sys.argv[1]))))
    print(json.dumps({name: vars(report) for name, report in reports.items()}))


if __name__ == "__main__":
    main()
