"""The drawings: what they show, and that they stay readable at any scale."""

import pytest

from keepserve.balancer.timeline import ASCII, WIDTH, Bar, draw_bars, draw_timeline
from keepserve.config import Settings


def test_the_default_clocks_as_a_drawing() -> None:
    assert draw_timeline(Settings(stop_grace=30.0), {}, unicode=False).splitlines() == [
        "An idle connection, in seconds since its last response (or since it was accepted)",
        "  balancer   |--------------------------|                  60 s  lb_idle_timeout (default)",
        "  idle       |-----------------------------------|         80 s  keep_alive_timeout (default)",
        "  head                                           |---|     10 s  request_head_timeout (default), "
        "from the first byte",
        "  envelope   |---------------------------------------|     90 s  headers_timeout (default)",
        "  ok: the balancer gives up first, 20 s before we would",
        "  Clients are told Keep-Alive: timeout=60, so that those that read it close first.",
        "",
        "A stop, in seconds since the signal",
        "  idle       |------|                                       5 s  drain_idle (default)",
        "  requests   |--------------------------|                  20 s  drain_timeout (default)",
        "  cancelled                             |---|               3 s  drain_cancel (default)",
        "  shutdown                                  |-----|         5 s  shutdown_timeout (default)",
        "  killed     |---------------------------------------|     30 s  stop_grace (default)",
        "  ok: ends after 28 s at the latest, 2 s before the kill",
    ]


def test_unicode_draws_the_same_with_other_characters() -> None:
    drawn = draw_timeline(Settings(), {}).translate(str.maketrans("├─┤", "|-|")).replace("✓", "ok:")
    assert drawn == draw_timeline(Settings(), {}, unicode=False)


def test_a_connection_closed_too_early_is_marked() -> None:
    drawn = draw_timeline(Settings(keep_alive_timeout=50.0), {})
    assert "✗ we give up 10 s before the balancer does: requests will be lost" in drawn
    assert "✗ the balancer and we give up at the same moment" in draw_timeline(Settings(keep_alive_timeout=60.0), {})


def test_a_stop_that_is_cut_short_is_marked() -> None:
    assert "✗ may need 28 s, but is killed 8 s before that" in draw_timeline(Settings(stop_grace=20.0), {})
    assert "give the orchestrator's patience as --stop-grace" in draw_timeline(Settings(), {})


def test_a_lame_duck_comes_first_and_shifts_the_rest() -> None:
    drawn = draw_timeline(Settings(drain_delay=10.0, stop_grace=40.0), {}, unicode=False).splitlines()
    assert drawn[8:] == [
        "A stop, in seconds since the signal",
        "  lame duck  |---------|                                   10 s  drain_delay (default)",
        "  idle                 |----|                               5 s  drain_idle (default)",
        "  requests             |-------------------|               20 s  drain_timeout (default)",
        "  cancelled                                |--|             3 s  drain_cancel (default)",
        "  shutdown                                    |----|        5 s  shutdown_timeout (default)",
        "  killed     |---------------------------------------|     40 s  stop_grace (default)",
        "  ok: ends after 38 s at the latest, 2 s before the kill",
    ]
    late = draw_timeline(Settings(drain_delay=10.0, stop_grace=30.0), {}, unicode=False)
    assert "!! may need 38 s, but is killed 8 s before that" in late


def test_without_a_balancer_there_is_no_bar_for_it() -> None:
    drawn = draw_timeline(Settings(lb_idle_timeout=0.0), {})
    assert "lb_idle_timeout" not in drawn
    assert "✓ no balancer to outlast" in drawn


def test_a_timeout_that_is_not_advertised_is_told() -> None:
    assert "No Keep-Alive: timeout is sent" in draw_timeline(Settings(keep_alive_timeout=10.0), {})


def test_times_close_together_get_different_columns() -> None:
    lines = draw_bars([Bar(name, 0, end, "") for name, end in (("a", 3600), ("b", 3601), ("c", 3602))], ASCII)
    ends = [line.rindex("|") for line in lines]
    assert ends == sorted(set(ends))


@pytest.mark.parametrize("ends", [(0.001, 1000.0), (1.0, 2.0, 3.0, 4.0, 5.0), (0.0,), (0.0, 0.0), (1.0, 86400.0)])
def test_every_line_stays_within_the_picture(ends: tuple[float, ...]) -> None:
    for line in draw_bars([Bar("x", 0, end, "") for end in ends], ASCII):
        assert 13 <= line.rindex("|") <= 13 + WIDTH


def test_zero_drain_times_can_be_drawn() -> None:
    settings = Settings(drain_idle=0.0, drain_timeout=0.0, drain_cancel=0.0, shutdown_timeout=0.0)
    assert "ends after 0 s at the latest" in draw_timeline(settings, {})
