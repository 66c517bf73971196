"""Medians, ratios, ranks and goals."""

from __future__ import annotations

import pytest

from tests.bench.figures import (
    FASTEST,
    Entry,
    Goal,
    Spread,
    Table,
    growth,
    judge_goals,
    per_cpu,
    ratios,
    shown,
    spread,
)


def table(*entries: Entry, more: bool = True, goals: tuple[Goal, ...] = ()) -> Table:
    """A table of these entries."""
    return Table("some/work", "Some work", "requests/s", more, goals, entries=list(entries))


def test_a_spread_is_the_median_between_the_least_and_the_most() -> None:
    assert spread([3.0, 1.0, 10.0]) == Spread(3.0, 1.0, 10.0)


def test_ratios_are_taken_round_by_round() -> None:
    # The machine was half as fast in the second round: for both.
    assert ratios([200.0, 100.0], [100.0, 50.0], more=True) == [2.0, 2.0]


def test_where_less_is_better_a_ratio_above_one_still_means_better() -> None:
    assert ratios([2.0], [5.0], more=False) == [2.5]


def test_a_figure_of_nothing_has_a_ratio() -> None:
    assert ratios([0.0], [0.5], more=False)[0] > 1e6


def test_the_best_comes_first_whichever_way_better_is() -> None:
    entries = [Entry("uvicorn", [10.0]), Entry("granian", [30.0]), Entry("keepserve", [20.0])]
    assert [entry.server for entry in table(*entries).ranking] == ["granian", "keepserve", "uvicorn"]
    assert [entry.server for entry in table(*entries, more=False).ranking] == ["uvicorn", "keepserve", "granian"]


@pytest.mark.parametrize(("problem", "absent"), [("status 500 instead of 200", ""), ("", "not installed")])
def test_a_server_with_errors_is_not_ranked_however_fast_it_was(problem: str, absent: str) -> None:
    erring = Entry("granian", [900.0], problem=problem, absent=absent)
    found = table(Entry("keepserve", [20.0]), erring, Entry("uvicorn", [10.0]))
    assert erring not in found.ranking
    assert found.fastest_peer is found.entries[2]


def test_neither_the_limit_nor_a_variant_of_ours_is_a_peer() -> None:
    found = table(
        Entry("bare", [99.0]), Entry("keepserve-h2", [50.0]), Entry("keepserve", [20.0]), Entry("daphne", [1.0])
    )
    assert found.fastest_peer is not None
    assert found.fastest_peer.server == "daphne"


def test_a_goal_is_judged_by_the_median_ratio_to_the_fastest_peer() -> None:
    entries = (Entry("keepserve", [120.0, 130.0, 140.0]), Entry("granian", [100.0] * 3), Entry("uvicorn", [50.0] * 3))
    (verdict,) = judge_goals(table(*entries, goals=(Goal(1.25),)))
    assert (verdict.found, verdict.reached, verdict.against) == (Spread(1.3, 1.2, 1.4), True, "granian")
    (verdict,) = judge_goals(table(*entries, goals=(Goal(1.31),)))
    assert not verdict.reached


def test_a_goal_may_name_the_server_it_compares_with() -> None:
    entries = (Entry("keepserve", [60.0]), Entry("granian", [80.0]), Entry("bare", [100.0]))
    (verdict,) = judge_goals(table(*entries, goals=(Goal(0.5, "bare"),)))
    assert (verdict.against, verdict.reached) == ("bare", True)


@pytest.mark.parametrize(("more", "figure", "reached"), [(False, 3.4, True), (False, 3.6, False), (True, 3.6, True)])
def test_a_goal_may_be_a_bound_on_the_figure_itself(more: bool, figure: float, reached: bool) -> None:
    (verdict,) = judge_goals(table(Entry("keepserve", [figure]), more=more, goals=(Goal(3.5, ""),)))
    assert verdict.reached is reached


def test_a_goal_nothing_was_measured_for_has_no_verdict() -> None:
    goals = (Goal(1.25, FASTEST), Goal(0.5, "bare"))
    assert judge_goals(table(Entry("keepserve", [1.0]), goals=goals)) == []
    assert judge_goals(table(Entry("keepserve", problem="it ended"), Entry("bare", [1.0]), goals=goals)) == []


def test_growth_is_the_last_point_over_the_first_in_the_order_of_the_points() -> None:
    points = [
        Table("b", "", "", family="f", point=64.0, entries=[Entry("keepserve", [30.0])]),
        Table("a", "", "", family="f", point=0.0, entries=[Entry("keepserve", [20.0]), Entry("daphne", [1.0])]),
    ]
    assert growth(points, "keepserve") == 1.5
    assert growth(points, "daphne") is None


def test_figures_per_cpu_second_do_not_depend_on_how_much_cpu_there_was() -> None:
    assert per_cpu(Entry("keepserve", [100.0, 50.0], [1.0, 0.5])) == [100.0, 100.0]


@pytest.mark.parametrize(("value", "text"), [(123456.7, "123,457"), (42.25, "42.2"), (0.456, "0.46"), (0.0, "0.00")])
def test_a_figure_is_shown_with_as_many_digits_as_it_can_bear(value: float, text: str) -> None:
    assert shown(value) == text
