"""The list of what is measured, and the commands it is measured with."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.bench import environment, work_app
from tests.bench.command import _repeatable, _servers
from tests.bench.environment import Environment, Environments, Package, directory_name
from tests.bench.figures import LIMITS, OURS, VARIANTS
from tests.bench.peers import SERVERS
from tests.bench.processes import Unavailable, last_words
from tests.bench.scenarios import SCENARIOS, chosen
from tests.bench.setups import Certificate, Start
from tests.bench.websocket_load import frames


def test_names_are_unique() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
    assert len({server.name for server in SERVERS}) == len(SERVERS)


def test_keepserve_takes_part_in_everything_with_a_peer_or_a_bound_to_compare() -> None:
    ours = next(server for server in SERVERS if server.name == OURS)
    peers = [server for server in SERVERS if server.role == "peer"]
    for scenario in SCENARIOS:
        assert scenario.takes(ours), scenario.name
        assert any(scenario.takes(peer) for peer in peers), scenario.name


def test_a_goal_names_a_server_that_takes_part() -> None:
    servers = {server.name: server for server in SERVERS}
    for scenario in SCENARIOS:
        for goal in scenario.goals:
            if goal.against in servers:
                assert scenario.takes(servers[goal.against]), scenario.name


def test_the_roles_of_servers_are_those_the_ranking_knows() -> None:
    roles = {server.name: server.role for server in SERVERS}
    assert tuple(name for name, role in roles.items() if role == "limit") == LIMITS
    assert tuple(name for name, role in roles.items() if role == "variant") == VARIANTS
    assert [name for name, role in roles.items() if role == "ours"] == [OURS]


def test_every_server_has_a_command_for_whatever_it_takes(tmp_path: Path) -> None:
    certificate = Certificate("chain.pem", "key.pem")
    for server in SERVERS:
        for scenario in SCENARIOS:
            for setup in scenario.setups if scenario.takes(server) else ():
                command = server.command(Start(Environment(Path("/e"), {}), setup, 4711, certificate, tmp_path))
                assert command[0].startswith("/e/bin/")
                assert any("4711" in part for part in command)
                assert ("chain.pem" in command) is setup.tls
                assert (setup.app in command) is (server.role != "limit")


def test_scenarios_are_chosen_by_pattern_in_their_own_order() -> None:
    assert [scenario.name for scenario in chosen(["http2/*", "http1/hello"])] == [
        "http1/hello",
        "http2/1x100",
        "http2/8x32",
        "http2/envoy",
    ]
    assert all(scenario.goals for scenario in chosen([], goals_only=True))
    assert tuple(chosen([])) == SCENARIOS


def test_what_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"No scenario matches 'http3/\*'"):
        chosen(["http3/*"])
    with pytest.raises(ValueError, match="There is no server 'apache' here"):
        _servers("keepserve,apache")


def test_a_variant_is_measured_only_when_it_is_named() -> None:
    assert not {server.name for server in _servers(None)} & set(VARIANTS)
    assert [server.name for server in _servers("keepserve-h2, keepserve")] == ["keepserve", "keepserve-h2"]


def test_the_command_to_repeat_a_run_has_no_places_of_this_machine() -> None:
    arguments = ["--only", "http2/*", "--json", "/x/y.json", "--plot=/x/y.png", "--readme", "--rounds=7", "--goals"]
    assert _repeatable(arguments) == ["--only", "'http2/*'", "--rounds=7", "--goals"]


def test_an_environment_is_made_anew_when_other_things_are_wanted_in_it() -> None:
    one = Package("granian", (("granian",),))
    assert directory_name(one, "3.13.0") == directory_name(one, "3.13.0")
    others = {
        directory_name(one, "3.11.4"),
        directory_name(Package("granian", (("granian>=3",),)), "3.13.0"),
        directory_name(one, "3.13.0", "more"),
    }
    assert len(others | {directory_name(one, "3.13.0")}) == 4


class Pip:
    """Stands for pip: what it was asked for, and what it cannot install."""

    def __init__(self, *impossible: str) -> None:
        self.impossible = impossible
        self.asked: list[str] = []

    def __call__(self, command: list[str]) -> str:
        if "list" in command:
            return '[{"name": "Granian", "version": "2.8.7"}]'
        if "install" in command:
            self.asked.append(command[-1 - len(environment.COMMON)])
            if self.asked[-1] in self.impossible:
                raise Unavailable(f"ERROR: No matching distribution found for {self.asked[-1]}")
        else:
            Path(command[-1]).mkdir(parents=True)
        return ""


def test_the_first_alternative_that_can_be_installed_is_taken_and_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pip = Pip("granian[fast]")
    monkeypatch.setattr(environment, "_run", pip)
    package = Package("granian", (("granian[fast]",), ("granian",)))
    for _ in range(2):
        assert Environments(tmp_path, lambda _: None).ready(package).versions == {"granian": "2.8.7"}
    assert pip.asked == ["granian[fast]", "granian"]
    Environments(tmp_path, lambda _: None, update=True).ready(package)
    assert len(pip.asked) == 4


def test_what_cannot_be_installed_is_unavailable_with_pip_s_reason_and_tried_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pip = Pip("granian")
    monkeypatch.setattr(environment, "_run", pip)
    environments = Environments(tmp_path, lambda _: None)
    for _ in range(2):
        with pytest.raises(Unavailable, match="pip install granian failed: ERROR: No matching distribution"):
            environments.ready(Package("granian", (("granian",),)))
    assert pip.asked == ["granian"]


def test_the_last_thing_a_program_said_is_quoted(tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.write_text("starting\nError: no such option\n\n")
    assert last_words(output) == "Error: no such option"
    output.write_text("")
    assert last_words(output) == "it said nothing"


@pytest.mark.parametrize(("size", "begins", "overhead"), [(32, "81a0", 4), (126, "81fe007e", 4), (65536, "81ff", 4)])
def test_a_message_and_its_echo_differ_by_the_mask(size: int, begins: str, overhead: int) -> None:
    sent, echoed = frames(size)
    assert sent.startswith(bytes.fromhex(begins))
    assert len(sent) == len(echoed) + overhead
    assert echoed.endswith(b"x" * size)


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("/echo", b"abc", b"abc"),
        ("/count", b"abc", b"3"),
        ("/64k", b"", work_app.KIB_64),
        ("/1m", b"", work_app.MIB),
        ("/stream", b"", work_app.CHUNK * work_app.CHUNKS),
    ],
)
def test_the_application_that_moves_bodies_does_what_the_scenarios_expect(
    path: str, body: bytes, answer: bytes
) -> None:
    sent: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = [{"body": body[:1], "more_body": True}, {"body": body[1:]}]
    messages = iter(parts)

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(work_app.app({"type": "http", "path": path}, receive, send))
    assert b"".join(message.get("body", b"") for message in sent) == answer
