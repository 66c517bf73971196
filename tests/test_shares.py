"""The suite is shared out among processes: all of it, once, and what starts servers together."""

from __future__ import annotations

from tests.shares import SHARE, shares


def cut(*modules: tuple[str, int]) -> list[list[str]]:
    """The shares of so many tests of each module."""
    return shares([f"tests/{path}::test[{number}]" for path, count in modules for number in range(count)], str)


def sizes(dealt: list[list[str]]) -> list[tuple[str, int]]:
    return [(share[0].partition("::")[0].removeprefix("tests/"), len(share)) for share in dealt]


def test_a_module_that_starts_servers_stays_whole_and_one_that_computes_does_not() -> None:
    dealt = cut(("apps/test_a.py", 3 * SHARE), ("wire/test_b.py", 2 * SHARE + 1))
    assert sizes(dealt) == [
        ("apps/test_a.py", 3 * SHARE),
        ("wire/test_b.py", SHARE),
        ("wire/test_b.py", SHARE),
        ("wire/test_b.py", 1),
    ]


def test_what_takes_longest_begins_and_what_computes_is_dealt_out_between() -> None:
    dealt = cut(
        ("test_a.py", 1),
        ("apps/test_b.py", 1),
        ("http1/test_c.py", 1),
        ("balancers/test_d.py", 1),
        ("wire/test_e.py", 1),
    )
    assert [name for name, _ in sizes(dealt)] == [
        "balancers/test_d.py",
        "test_a.py",
        "apps/test_b.py",
        "http1/test_c.py",
        "wire/test_e.py",
    ]


def test_every_test_is_in_one_share() -> None:
    modules = [
        (f"{folder}/test_{number}.py", number) for number in range(7) for folder in ("process", "http2", "asgi")
    ]
    tests = [test for share in cut(*modules) for test in share]
    assert len(tests) == len(set(tests)) == 3 * sum(range(7))


def test_a_part_of_the_suite_without_servers_keeps_its_order() -> None:
    assert sizes(cut(("wire/test_b.py", 2), ("asgi/test_a.py", 1))) == [("wire/test_b.py", 2), ("asgi/test_a.py", 1)]


def test_balancers_never_run_beside_each_other() -> None:
    dealt = cut(("balancers/test_a.py", 3), ("apps/test_b.py", 1), ("balancers/test_c.py", 2))
    assert sizes(dealt) == [("balancers/test_a.py", 5), ("apps/test_b.py", 1)]
