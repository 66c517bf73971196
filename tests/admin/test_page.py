"""The live page as a document: whole, by itself, and in step with what the server says."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import itertools
import re
from importlib import resources
from typing import Any

import pytest

from keepserve.admin.document import status
from keepserve.admin.page import SCRIPTS, page
from keepserve.config.settings import Settings
from keepserve.server.phases import Phase
from keepserve.telemetry.counters import RESTARTS
from keepserve.telemetry.reasons import CloseReason
from keepserve.telemetry.scoreboard import STOP_BEGAN
from tests.admin import documents
from tests.admin.readings import read, two_workers

TEXT = page()[0].decode()
WORDS = resources.files("keepserve.admin").joinpath("live", "words.js").read_text("utf-8")


class Parsed(html.parser.HTMLParser):
    """Elements with their attributes, and what stands in ``script`` and ``style``."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: dict[str, str] = {}
        self._within: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            assert tag not in self.inline
            self._within, self.inline[tag] = tag, ""

    def handle_endtag(self, tag: str) -> None:
        self._within = None

    def handle_data(self, data: str) -> None:
        if self._within:
            self.inline[self._within] += data


PARSED = Parsed(TEXT)


@pytest.mark.parametrize("tag", ["script", "style"])
def test_the_policy_allows_what_stands_in_the_page_and_nothing_else(tag: str) -> None:
    policy = dict(part.split(" ", 1) for part in page()[1].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    digest = base64.b64encode(hashlib.sha256(PARSED.inline[tag].encode()).digest()).decode()
    assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert "unsafe" not in page()[1]


def test_nothing_is_fetched_from_anywhere() -> None:
    assert set(re.findall(r"\w+://[^\s\"'`<>]*", TEXT)) == {"http://www.w3.org/2000/svg"}
    assert {attributes["href"] for _, attributes in PARSED.elements if attributes.get("href")} == {
        "data:,",
        "status",
        "metrics",
    }
    assert not [attributes for _, attributes in PARSED.elements if "src" in attributes]
    assert "@import" not in TEXT
    assert re.findall(r"url\(([^)]*)\)", TEXT) == ['"#hatch"']


def test_handlers_and_styles_stand_in_no_attribute() -> None:
    for tag, attributes in PARSED.elements:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
    assert not re.search(r"""setAttribute\(["'](style|on)""", PARSED.inline["script"])


def test_text_of_the_server_is_never_taken_for_markup() -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", PARSED.inline["script"])


def test_identifiers_are_unique_and_every_label_exists() -> None:
    identifiers = [attributes["id"] for _, attributes in PARSED.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for _, attributes in PARSED.elements:
        if label := attributes.get("aria-labelledby"):
            assert label in identifiers


def test_headings_do_not_skip_a_level_and_the_state_is_spoken() -> None:
    levels = [int(tag[1]) for tag, _ in PARSED.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert {"id": "announce", "class": "unseen", "role": "status", "aria-live": "polite"} in [
        attributes for _, attributes in PARSED.elements
    ]


def names_of(block: str) -> list[str]:
    """The keys of an object in words.js, in their order."""
    found = re.search(rf"^const {block} = {{\n(.*?)^}};", WORDS, re.S | re.M)
    assert found is not None, block
    return re.findall(r"^  (\w+):", found[1], re.M)


def test_every_close_reason_has_a_plain_name() -> None:
    assert names_of("REASONS") == [reason.value for reason in CloseReason]


def test_every_phase_and_every_cause_of_a_restart_has_one_too() -> None:
    assert names_of("PHASES") == [phase.name.lower() for phase in Phase]
    assert names_of("RESTARTS") == list(RESTARTS)


def shape(value: Any) -> Any:
    """A document without its figures: names, and what kind of thing stands there."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return None


@pytest.mark.parametrize("make", [documents.fresh, documents.busy, documents.early, documents.crowded])
def test_the_documents_of_these_tests_are_like_the_servers(make: Any) -> None:
    real, ours = shape(status(read(two_workers()[0], settings=Settings(workers=2)))), shape(make())
    # What is only there when something was counted, and sentences.
    for document in (real, ours):
        document["requests"]["rejected"] = document["warnings"] = document["listening"] = None
    assert ours == real


def test_so_is_that_of_a_stop() -> None:
    board, _ = two_workers()
    board.common[STOP_BEGAN] = 4_000_000_000
    assert shape(documents.draining())["drain"] == shape(status(read(board)))["drain"]


def test_all_sources_are_in_the_page() -> None:
    sources = {entry.name for entry in resources.files("keepserve.admin").joinpath("live").iterdir()}
    assert sources == {*SCRIPTS, "page.css", "page.html"}
    assert not re.search(r"\[\[\w+\]\]", TEXT)
