"""The table has 35 rows, and each has its tests."""

from __future__ import annotations

import re
from pathlib import Path

from tests.hostile.recipes import ATTACKS

ROWS = set(range(1, 36))
NO_FLOOD = {26, 27, 28, 35}
"""Rows that are about waiting, and that only a clock which is moved can show; the drain has tests of its own."""


def test_every_row_has_a_test_with_a_clock_that_stands_still() -> None:
    named = re.compile(r"^(?:async )?def test_row_((?:\d\d_)+)", re.MULTILINE)
    files = Path(__file__).parent.glob("test_rows_*.py")
    numbers = [number for file in files for found in named.findall(file.read_text()) for number in found.split("_")]
    assert {int(number) for number in numbers if number} == ROWS


def test_every_row_that_a_flood_can_express_is_tried_on_a_running_server() -> None:
    assert {attack.row for attack in ATTACKS} == ROWS - NO_FLOOD
