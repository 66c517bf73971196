"""YAML, JSON and TOML with places: what is followed, what is bounded, and every way a file can be broken."""

import sys

import pytest

from keepserve.balancer.facts import Fact, Place, UnreadableError
from keepserve.balancer.readers.documents import Mapping, Scalar, Sequence, load, load_mappings, try_load
from keepserve.balancer.readers.toml_places import load_toml
from keepserve.balancer.readers.tree import MAX_DEPTH

YAML = """\
# A comment first.
name: web
limits:
  idle: 75s
  "count": 3
  on: true
servers:
  - host: a
  - host: b
nothing:
"""


def one(text: str, path: str = "a.yaml") -> Mapping:
    (document,) = load_mappings(path, text)
    return document


def refused(text: str, path: str = "a.yaml") -> str:
    with pytest.raises(UnreadableError) as caught:
        load(path, text)
    return str(caught.value)


def test_every_value_knows_its_line() -> None:
    document = one(YAML)
    assert document.needed("name").place == Place("a.yaml", 2)
    assert document.needed("limits", "idle").place == Place("a.yaml", 4)
    assert [server.needed("host").place.line for server in document.sequence("servers").mappings()] == [8, 9]


def test_a_mapping_or_list_under_a_key_stands_where_its_key_does() -> None:
    document = one(YAML)
    limits = document.mapping("limits")
    assert limits is not None
    assert limits.place.line == 3
    assert document.sequence("servers").place.line == 7


def test_a_scalar_makes_a_fact_in_the_words_of_the_file() -> None:
    idle = one(YAML).needed("limits", "idle")
    assert idle.fact(idle.go_seconds()) == Fact(75.0, "idle: 75s", Place("a.yaml", 4))


def test_a_key_without_a_value_is_absent() -> None:
    document = one(YAML)
    assert document.get("nothing") is None
    assert document.scalar("absent") is None
    assert document.mapping("nothing") is None
    assert document.sequence("nothing").items == ()
    assert document.string("nothing") == ""
    assert document.has("name", "limits")
    assert not document.has("name", "nothing")


def test_an_empty_string_in_quotes_is_a_value() -> None:
    scalar = one('a: ""\n').scalar("a")
    assert scalar is not None
    assert scalar.words == 'a: ""'


def test_several_documents_are_read_and_empty_ones_left_out() -> None:
    assert [document.place.line for document in load("a.yaml", "---\na: 1\n---\n---\n# no\n---\nb: 2\n")] == [2, 7]


def test_anchors_aliases_and_merge_keys_are_followed() -> None:
    text = """\
defaults: &defaults
  idle: 60s
  count: 1
slow: &slow
  idle: 90s
a:
  <<: *defaults
  count: 2
b:
  <<: [*slow, *defaults]
c: *slow
"""
    document = one(text)
    assert document.needed("a", "idle").place.line == 2
    assert document.needed("a", "count").text == "2"
    assert (document.needed("b", "idle").text, document.needed("b", "count").text) == ("90s", "1")
    assert document.needed("c", "idle").place.line == 5


def test_what_an_alias_stands_for_is_where_its_anchor_is() -> None:
    slow = one("slow: &slow\n  idle: 90s\nc: *slow\n").mapping("c")
    assert slow is not None
    assert slow.place.line == 1


def test_an_anchor_ends_with_its_document() -> None:
    assert refused("a: &x 1\n---\nb: *x\n").startswith('a.yaml:3: "*x" names no value')


def test_a_value_cannot_contain_itself() -> None:
    assert refused("a: &x\n  b: *x\n").startswith('a.yaml:2: "*x" names no value')


@pytest.mark.parametrize("text", ["a:\n  <<: 1\n", "a:\n  <<: [{b: 1}, 2]\n"])
def test_only_mappings_can_be_merged(text: str) -> None:
    assert refused(text).startswith('a.yaml:2: "<<" should name a mapping')


def test_aliases_of_aliases_do_not_grow_without_bound() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    message = refused("\n".join(lines) + "\n")
    assert message == "a.yaml:6: with its aliases, the file has more than 500,000 values."


def test_merged_mappings_count_as_often_as_they_are_used() -> None:
    lines = ["base: &base {" + ", ".join(f"k{n}: 1" for n in range(1000)) + "}"]
    lines += [f"u{n}: {{<<: *base}}" for n in range(600)]
    assert "more than 500,000 values" in refused("\n".join(lines))


@pytest.mark.parametrize("path", ["a.yaml", "a.json"])
def test_nesting_is_bounded(path: str) -> None:
    fits = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert len(load(path, fits)) == 1
    assert "nested deeper than 100 levels" in refused("[" * 100_000, path)


def test_a_key_that_is_given_twice_is_refused_with_both_lines() -> None:
    message = refused("a:\n  idle: 1s\n  other: 2\n  idle: 3s\n")
    assert message == 'a.yaml:4: "idle" is given twice, first in line 2; one of them is not what is meant.'
    message = refused('{\n "idle": 1,\n "idle": {"a": 2}\n}', "a.json")
    assert message == 'a.json:3: "idle" is given twice, first in line 2; one of them is not what is meant.'


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system [echo]", "!Ref Timeout", "!<tag:x.org,2000:y> 1"])
def test_tags_are_refused_and_never_executed(tag: str) -> None:
    message = refused(f"a: 1\nb: {tag}\n")
    assert message.startswith("a.yaml:2: the tag ")
    assert "give the configuration as the balancer gets it" in message


def test_core_tags_are_allowed() -> None:
    assert one('a: !!str 12\nb: !!int "3"\nc: !!map {d: 1}\n').needed("b").integer() == 3


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\n{{- if .Values.x }}\nb: 2\n{{- end }}\n", 2),
        ("a: 1\nb: {{ .Values.timeout }}\n", 2),
        ("a: 1\nb: [ ${TIMEOUT}, 2 ]\n", 2),
        ("{% for s in servers %}\na: 1\n{% endfor %}\n", 1),
        ('{"a": {{ .Values.timeout }}}', 1),
        ('{\n"a": 1,\n"b": ${TIMEOUT}\n}', 3),
    ],
)
@pytest.mark.parametrize("path", ["a.yaml", "a.json"])
def test_a_template_is_told_with_the_way_out(text: str, line: int, path: str) -> None:
    if path == "a.json" and text[0] != "{":
        text, line = '{"a": {{ x }}}', 1
    message = refused(text, path)
    assert message == (
        f"{path}:{line}: this is a template, not its result; "
        "render it first (helm template, docker compose config, envsubst ...) and give what comes out."
    )


@pytest.mark.parametrize("value", ["${TIMEOUT}", "{{ x }}", "{% x %}"])
def test_a_template_that_is_valid_yaml_is_told_where_its_value_is_needed(value: str) -> None:
    scalar = one(f'a: "{value}"\n').needed("a")
    for convert in (scalar.integer, scalar.go_seconds, scalar.string, scalar.boolean):
        with pytest.raises(UnreadableError, match=r'a\.yaml:1: "a: .*" is a template, not its result'):
            convert()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2\nb: 3\n", "a.yaml:2: this is not YAML:"),
        ("a: 'open\n", "a.yaml:2: this is not YAML:"),
        ("a: 1\n\tb: 2\n", "a.yaml:2: this is not YAML:"),
        ("a: b: c\n", "a.yaml:1: this is not YAML:"),
        ("? [a, b]\n: 1\n", "a.yaml:1: a key should be a single value"),
        ("a: \x07\n", "a.yaml"),
        ("", "a.yaml: the file is empty."),
        ("\n  \n", "a.yaml: the file is empty."),
        ("# only a comment\n---\n", "a.yaml: there is nothing in the file but comments or empty documents."),
        ("just words\n", 'a.yaml:1: "just words" should be a mapping (keys with values).'),
        ("- 1\n- 2\n", "a.yaml:1: this should be a mapping (keys with values), but is a list."),
    ],
)
def test_broken_yaml_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        load_mappings("a.yaml", text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n"a": [1, 2,\n', "a.json:2: this is half a file: what begins here is still open in line 3"),
        ('{"a": 1', "a.json:1: this is half a file"),
        ('{"a": 1,}', "a.json:1: this is not JSON: a key in double quotes should stand where '}' is."),
        ("{'a': 1}", "a.json:1: this is not JSON: a key in double quotes should stand where ''a'' is."),
        ('{"a" 1}', 'a.json:1: this is not JSON: ":" after "a" should stand where \'1\' is.'),
        ('{"a": 1\n"b": 2}', 'a.json:2: this is not JSON: "," or "}" should stand where'),
        ("[1 2]", 'a.json:1: this is not JSON: "," or "]" should stand where \'2\' is.'),
        ('{"a": tru}', "a.json:1: this is not JSON: a value should stand where 'tru' is."),
        ('{"a": 01}', 'a.json:1: this is not JSON: "," or "}" should stand where'),
        ('{"a": "x\n"}', "a.json:1: this is not JSON: the string that begins here"),
        ('{"a": "\\x"}', "a.json:1: this is not JSON: the string that begins here"),
        ('{"a": 1} x', "a.json:1: this is not JSON: a value should stand where 'x' is."),
        ('// comment\n{"a": 1}', "a.json:1: "),
    ],
)
def test_broken_json_is_refused_with_its_line(text: str, message: str) -> None:
    assert refused(text, "a.json").startswith(message)


def test_json_has_places_tabs_escapes_and_several_values() -> None:
    text = '{\n\t"a": "\\u00e9\\ud83d\\ude00\\/",\n\t"b": [1, -2.5e3, true, null, {}]\n}\n[]\n{"c":1}null'
    first, second, third = load("a.json", text)
    assert isinstance(first, Mapping)
    assert first.needed("a").text == "é😀/"
    assert first.needed("a").place.line == 2
    assert [scalar.text for scalar in list(first.sequence("b").items)[:4] if isinstance(scalar, Scalar)] == [
        "1",
        "-2.5e3",
        "true",
        "null",
    ]
    assert isinstance(second, Sequence)
    assert (second.place.line, third.place.line) == (5, 6)


def test_yaml_that_begins_with_a_brace_is_yaml_unless_it_calls_itself_json() -> None:
    assert one("{a: 1, b: 2}\n").needed("b").text == "2"
    assert "this is not JSON" in refused("{a: 1}", "a.json")
    # What is neither gets JSON's error: a brace is JSON's beginning more often than YAML's.
    assert "half a file" in refused('{"a": 1,', "a")


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert one("\ufeffa: 1\n").needed("a").text == "1"
    assert one('\ufeff{"a": 1}', "a.json").needed("a").text == "1"


def test_a_very_long_file_is_refused() -> None:
    assert "longer than 8,000,000 characters" in refused("#" * 8_000_001)


def test_looking_for_the_kind_never_raises() -> None:
    assert try_load("a.yaml", "a: [") == ()
    assert len(try_load("a.yaml", "a: 1")) == 1


def test_json_needs_no_yaml_parser_and_yaml_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert one('{"without": "pyyaml"}').needed("without").text == "pyyaml"
    assert refused("without: pyyaml\n").endswith("pip install 'keepserve[check]'.")


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda s: s.integer(), "a whole number of at least 0"),
        (lambda s: s.integer(1), "a whole number of at least 1"),
        (lambda s: s.boolean(), "true or false"),
        (lambda s: s.go_seconds(), "a duration such as 90s, 1m30s or 500ms"),
    ],
)
def test_a_wrong_value_says_where_what_and_what_was_expected(call: object, expected: str) -> None:
    scalar = one("x: 1\nidle: soon\n").needed("idle")
    with pytest.raises(UnreadableError) as caught:
        call(scalar)  # type: ignore[operator]  # one of the functions above
    assert str(caught.value) == f'a.yaml:2: "idle: soon" should be {expected}.'


@pytest.mark.parametrize("text", ["-1", "1.5", "0x10", "9" * 30, "1_000", "", "٣"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(UnreadableError, match="should be a whole number"):
        one(f'a: "{text}"\n').needed("a").integer()


@pytest.mark.parametrize("text", ["true", "True", "yes", "on"])
def test_truth_has_the_words_of_yaml(text: str) -> None:
    assert one(f"a: {text}\n").needed("a").boolean()
    assert not one("a: off\n").needed("a").boolean()


def test_another_shape_than_expected_is_refused() -> None:
    document = one("a: 1\nb:\n  c: 2\nd: [1, {e: 2}]\n")
    cases = [
        (lambda: document.mapping("a"), 'a.yaml:1: "a: 1" should be a mapping (keys with values).'),
        (lambda: document.get("a", "b"), 'a.yaml:1: "a: 1" should be a mapping (keys with values).'),
        (lambda: document.scalar("b"), 'a.yaml:2: "b" should be a single value, but is a mapping.'),
        (lambda: document.scalar("d"), 'a.yaml:4: "d" should be a single value, but is a list.'),
        (lambda: document.sequence("b"), 'a.yaml:2: "b" should be a list, but is a mapping.'),
        (lambda: list(document.children()), 'a.yaml:1: "a: 1" should be a mapping (keys with values).'),
        (lambda: list(document.sequence("d").mappings()), 'a.yaml:4: "d: 1" should be a list of mappings'),
        (lambda: list(document.sequence("d").scalars()), 'a.yaml:4: "d" should be a list of single values'),
        (lambda: document.needed("x", "y"), 'a.yaml:1: there is no "x.y" here; is this the whole file?'),
    ]
    for call, message in cases:
        with pytest.raises(UnreadableError) as caught:
            call()  # type: ignore[no-untyped-call]
        assert str(caught.value).startswith(message)


TOML = """\
title = "x"

# A table, a dotted key, and values over several lines.
[a.b]
idle = "30s"
c.d = 5
many = [
  1,
  2, # two
]
text = \"\"\"
[not.a.table]
no = "key"
\"\"\"

[[servers]]
url = "one"
on = true
[servers.check]
path = "/x"
[[servers]]
url = "two"
inline = { deep = { er = 1.5 } }
"""


def test_toml_has_places() -> None:
    document = load_toml("a.toml", TOML)
    assert document.needed("title").place == Place("a.toml", 1)
    assert document.needed("a", "b", "idle").place.line == 5
    assert document.needed("a", "b", "c", "d").integer() == 5
    assert document.sequence("a", "b", "many").place.line == 7
    assert document.needed("a", "b", "text").place.line == 11
    first, second = document.sequence("servers").mappings()
    assert (first.place.line, first.needed("url").text, first.needed("on").boolean()) == (16, "one", True)
    assert first.needed("check", "path").place.line == 20
    assert (second.needed("url").place.line, second.needed("inline", "deep", "er").text) == (22, "1.5")
    assert not document.has("not")


def test_toml_keeps_what_is_text_and_what_is_not() -> None:
    document = load_toml("a.toml", 'text = ""\nnumber = 1\nyes = true\n')
    assert [document.needed(key).plain for key in ("text", "number", "yes")] == [False, True, True]


def test_toml_with_the_line_ends_of_another_system_is_the_same() -> None:
    document = load_toml("a.toml", TOML.replace("\n", "\r\n"))
    assert document.needed("a", "b", "idle").place.line == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\na = 2\n", "a.toml: this is not TOML: "),
        ("[a\n", "a.toml: this is not TOML: "),
        ("a = 1\nb = {{ .x }}\n", "a.toml:2: this is a template, not its result"),
    ],
)
def test_broken_toml_is_refused(text: str, message: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        load_toml("a.toml", text)
    assert str(caught.value).startswith(message)


def test_a_value_of_toml_over_very_many_lines_is_refused() -> None:
    with pytest.raises(UnreadableError, match="longer than 500 lines"):
        load_toml("a.toml", "a = [\n" + "1,\n" * 600 + "]\n")
