"""Tables for the terminal and the README, and the file they can be made from again."""

from __future__ import annotations

import dataclasses

import pytest

from tests.bench import readme, report
from tests.bench.figures import Entry, Goal, Table
from tests.bench.results import Results, from_json, merged


def results() -> Results:
    """What a small run might find."""
    hello = Table("http1/hello", "HTTP/1.1 hello", "requests/s", goals=(Goal(1.25), Goal(0.5, "bare")))
    hello.entries = [
        Entry("keepserve", [60_000.0, 66_000.0], [1.0, 1.0]),
        Entry("bare", [120_000.0, 110_000.0], [1.0, 1.0]),
        Entry("granian", [40_000.0, 44_000.0], [1.0, 1.0]),
        Entry("gunicorn", [90_000.0], problem="12 answers that are no 2xx or 3xx among 100 requests"),
        Entry("pyvoy", absent="pip install pyvoy failed"),
        Entry("daphne", absent="not offered"),
    ]
    memory = Table("memory/http1", "Memory, idle HTTP/1.1", "KiB per connection", False, (Goal(3.5, ""),))
    memory.entries = [Entry("keepserve", [4.0]), Entry("granian", [5.0])]
    fields = [
        Table(
            f"growth/fields/{point}", f"fields: {point}", "µs of CPU per request", False, (), "fields", float(point)
        )
        for point in (64, 0)
    ]
    for table, figure in zip(fields, (30.0, 20.0), strict=True):
        table.entries = [Entry("keepserve", [figure])]
    versions = {"keepserve": {"keepserve": "1.2", "uvloop": "0.23"}, "granian": {"granian": "2.8", "uvloop": "0.23"}}
    return Results(
        "2026-11-25",
        "A CPU, 2 CPUs, Linux 6",
        "3.13.0",
        "python -m tests.bench",
        2,
        3,
        versions,
        [hello, memory, *fields],
    )


def test_a_table_ranks_the_servers_and_says_why_others_have_no_rank() -> None:
    lines = [line.strip() for line in report.text_of(results().tables[0]).splitlines()]
    assert [line.split()[0] for line in lines[2:8]] == ["bare", "keepserve", "granian", "gunicorn", "pyvoy", "daphne"]
    assert lines[4].endswith("1.50 x (1.50-1.50)")
    assert lines[5].endswith("not ranked: 12 answers that are no 2xx or 3xx among 100 requests")
    assert "90,000" not in lines[5]
    assert lines[6].endswith("left out: pip install pyvoy failed")
    assert lines[7].endswith("not offered")


def test_goals_are_told_with_what_was_found() -> None:
    hello, memory = (report.text_of(table) for table in results().tables[:2])
    assert "goal: ≥ 1.25 x fastest peer: 1.50 x (1.50-1.50) granian, reached" in hello
    assert "goal: ≥ 0.5 x bare: 0.55 x (0.50-0.60) bare, reached" in hello
    assert "goal: ≤ 3.5 KiB per connection: 4.00 (4.00-4.00), missed" in memory


def test_a_curve_is_one_table_with_a_column_for_each_point() -> None:
    (fields,) = report.families(results().tables)
    text = report.growth_of(fields)
    assert text.splitlines()[1].split() == ["0", "64", "last/first"]
    assert text.splitlines()[2].split() == ["keepserve", "20.0", "30.0", "1.50", "x"]


def test_a_run_ends_with_curves_goals_and_circumstances() -> None:
    text = report.closing(results())
    assert text.index("fields, in µs") < text.index("Goals") < text.index("CPython 3.13.0, A CPU")
    assert text.endswith("keepserve 1.2, uvloop 0.23, granian 2.8")


def test_the_readme_has_a_line_for_each_piece_of_work_and_names_the_circumstances() -> None:
    text = readme.section(results())
    assert (
        "| HTTP/1.1 hello | 63,000 requests/s | granian: 42,000 | 1.50 (1.50-1.50) "
        "| ≥ 1.25 x fastest peer: 1.50, reached; ≥ 0.5 x bare: 0.55, reached |"
    ) in text
    assert "| keepserve | 20.0 | 30.0 | 1.50 |" in text
    assert "no figures: gunicorn (HTTP/1.1 hello)." in text
    for part in (
        "2026-11-25",
        "CPython 3.13.0",
        "A CPU, 2 CPUs, Linux 6",
        "granian 2.8",
        "```sh\npython -m tests.bench\n",
    ):
        assert part in text


def test_a_server_that_never_worked_is_told_with_the_reason() -> None:
    broken = results()
    for table in broken.tables:
        table.entries.append(Entry("hypercorn", problem="it ended: no such module."))
    assert "no figures: gunicorn (HTTP/1.1 hello); hypercorn (everything: it ended: no such module)." in (
        readme.section(broken)
    )


def test_what_is_said_of_the_interpreter_stands_beside_its_version() -> None:
    noted = dataclasses.replace(results(), note="built with PGO")
    assert "CPython 3.13.0, built with PGO, A CPU" in report.closing(noted)
    assert "with CPython 3.13.0, built with PGO (A CPU, 2 CPUs, Linux 6)" in readme.section(noted)


def test_results_come_back_from_json_as_they_were() -> None:
    assert from_json(results().as_json()) == results()


def test_runs_of_several_parts_make_one_report() -> None:
    first, second = results(), results()
    first.tables, second.tables = first.tables[:2], second.tables[2:]
    second.command, second.date = "python -m tests.bench --only 'growth/*'", "2026-11-26"
    del second.versions["granian"]
    whole = merged([first, second])
    assert whole.tables == results().tables
    assert whole.versions == results().versions
    assert whole.date == "2026-11-26"
    assert "```sh\npython -m tests.bench\npython -m tests.bench --only 'growth/*'\n```" in readme.section(whole)


def test_runs_that_do_not_belong_together_are_not_put_together() -> None:
    other = dataclasses.replace(results(), tables=[])
    with pytest.raises(ValueError, match=r"the same rounds; these have 2, 5\."):
        merged([results(), dataclasses.replace(other, rounds=5)])
    with pytest.raises(ValueError, match=r"the same python; these have '3\.11\.2', '3\.13\.0'\."):
        merged([results(), dataclasses.replace(other, python="3.11.2")])
    with pytest.raises(ValueError, match="two have other granians"):
        merged([results(), dataclasses.replace(other, versions={"granian": {"granian": "2.9"}})])
    with pytest.raises(ValueError, match="http1/hello was measured twice"):
        merged([results(), results()])


@pytest.mark.parametrize("text", ["{}", '{"format": 0}', '{"format": 1}', "[]", "no JSON"])
def test_other_files_are_no_results(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_json(text)
