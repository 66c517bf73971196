"""The picture."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import plot
from tests.bench.processes import Unavailable
from tests.benchmarks.test_report import results


def test_a_picture_is_drawn_of_bars_and_curves(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "new" / "comparison.png"
    plot.draw(results(), file)
    assert file.read_bytes().startswith(b"\x89PNG")


def test_without_a_figure_of_ours_there_is_nothing_to_draw(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    empty = results()
    empty.tables.clear()
    with pytest.raises(Unavailable, match="nothing to draw"):
        plot.draw(empty, tmp_path / "comparison.png")


def test_colours_differ_for_the_servers_of_the_list() -> None:
    from tests.bench.peers import SERVERS

    colours = plot._colours([server.name for server in SERVERS if server.role != "variant"])
    assert len(set(colours.values())) == len(colours)
