"""Env-files: what is understood, and what is said about the rest."""

from pathlib import Path

import pytest

from keepserve.config import ConfigError
from keepserve.config.envfile import parse_env_file, read_env_file


def values(text: str) -> dict[str, str]:
    return {name: entry.value for name, entry in parse_env_file(text, "x.env").entries.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("\n  \n# comment\n  # indented\n", {}),
        ("A=1", {"A": "1"}),
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("export A=1", {"A": "1"}),
        ("  export\tA=1", {"A": "1"}),
        ("exporter=1", {"exporter": "1"}),
        ("export=1", {"export": "1"}),
        ("A = 1 ", {"A": "1"}),
        ("A=a b c", {"A": "a b c"}),
        ("A=", {"A": ""}),
        ("A=\nB=2", {"A": "", "B": "2"}),
        ("A=x # comment", {"A": "x"}),
        ("A= # comment", {"A": ""}),
        ("A=x#y", {"A": "x#y"}),
        ("A=postgres://u:p@h/db?x=1#frag", {"A": "postgres://u:p@h/db?x=1#frag"}),
        ("A='a # b'", {"A": "a # b"}),
        ("A='a\\nb'", {"A": "a\\nb"}),
        ('A="a # b" # comment', {"A": "a # b"}),
        ('A="a\\nb\\t\\"c\\" \\\\ \\$d"', {"A": 'a\nb\t"c" \\ $d'}),
        ('A="C:\\dir"', {"A": "C:\\dir"}),
        ('A="two\nlines"\nB=2', {"A": "two\nlines", "B": "2"}),
        ("A=$HOME/${X}", {"A": "$HOME/${X}"}),
        ("A=it's", {"A": "it's"}),
        ("A=1\nA=2", {"A": "2"}),
        ("A=ünï", {"A": "ünï"}),
        ("a.b-c=1", {"a.b-c": "1"}),
    ],
)
def test_lines_are_understood(text: str, expected: dict[str, str]) -> None:
    assert values(text) == expected


def test_entries_know_the_line_they_start_on() -> None:
    entries = parse_env_file('# c\nA="x\ny"\n\nB=1\nA=2\n', "x.env").entries
    assert (entries["B"].line, entries["A"].line) == (5, 6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A", 'x.env:1: expected "=" after A; write A=VALUE.'),
        ("\n1A=1", "x.env:2: expected KEY=VALUE, where KEY starts with a letter or _."),
        ("=1", "x.env:1: expected KEY=VALUE, where KEY starts with a letter or _."),
        ('A="x', 'x.env:1: the value of A opens with " and never closes.'),
        ("A='x", "x.env:1: the value of A opens with ' and never closes."),
        ("A='x' y", "x.env:1: unexpected text after the closing ' of A."),
        ("A=\0", "x.env:1: the value of A has a NUL byte, which no environment can hold."),
    ],
)
def test_a_bad_line_is_told_by_file_and_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_env_file(text, "x.env")
    assert str(caught.value) == message


def test_all_bad_lines_are_told_at_once_without_their_values() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_env_file("A secret1\nOK=1\nB='secret2' secret3\n", "x.env")
    assert [str(problem)[:8] for problem in caught.value.problems] == ["x.env:1:", "x.env:3:"]
    assert "secret" not in str(caught.value)


def test_only_names_the_environment_does_not_have_are_added() -> None:
    env_file = parse_env_file("A=file\nB=file\nC=", "x.env")
    assert env_file.additions({"A": "environment"}) == {"B": "file", "C": ""}


def test_a_file_is_read_as_utf8_with_or_without_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "x.env"
    path.write_bytes(b"\xef\xbb\xbfA=\xc3\xa9\r\nB='1\r\n2'\r\n")
    assert {name: entry.value for name, entry in read_env_file(str(path)).entries.items()} == {"A": "é", "B": "1\n2"}


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: no such file or directory\. Check --env-file\."):
        read_env_file(str(tmp_path / "missing.env"))


def test_a_directory_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: is a directory"):
        read_env_file(str(tmp_path))


def test_other_encodings_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.env"
    path.write_bytes(b"A=\xe9")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        read_env_file(str(path))
