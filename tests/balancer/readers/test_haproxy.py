"""HAProxy's files: words, sections and what they inherit, servers and their parameters, and what is refused."""

import math
from pathlib import Path

import pytest

from keepserve.balancer.facts import Fact, Place, Pool, UnreadableError
from keepserve.balancer.readers import haproxy
from keepserve.balancer.readers.haproxy_words import lines_of

FIXTURE = Path(__file__).with_name("haproxy.cfg")
PATH = "haproxy.cfg"


def words(line: str) -> list[str]:
    return [word for one in lines_of(PATH, line + "\n") for word in one.words]


def pools(text: str) -> tuple[Pool, ...]:
    return haproxy.read(PATH, text).pools


def pool(*lines: str, server: str = "server a 127.0.0.1:8000", before: str = "") -> Pool:
    text = "\n".join([before, "backend app", "mode http", *lines, server, ""])
    (only,) = pools(text)
    return only


def value(fact: Fact[object] | None) -> object:
    assert fact is not None
    return fact.value


def refused(text: str) -> str:
    with pytest.raises(UnreadableError) as caught:
        haproxy.read(PATH, text)
    return str(caught.value)


# -- words


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  timeout\tserver  30s", ["timeout", "server", "30s"]),
        ("a b # comment", ["a", "b"]),
        ("a b#comment", ["a", "b"]),
        (r"a \#b", ["a", "#b"]),
        (r"a b\ c", ["a", "b c"]),
        (r"log-format %{+Q}o\ %t\ %s", ["log-format", "%{+Q}o %t %s"]),
        ('log-format "%{+Q}o %t"' + "' %s'", ["log-format", "%{+Q}o %t %s"]),
        ("""a "it's # here" b""", ["a", "it's # here", "b"]),
        ("""a 'say "x" \\n' b""", ["a", 'say "x" \\n', "b"]),
        (r"a \x41\n \"", ["a", "A\n", '"']),
        (r'a "\"\$X"', ["a", '"$X']),
        ('server a "${HOST}:80"', ["server", "a", "${HOST}:80"]),
        ('a "" b', ["a", "", "b"]),
        (r"a \d+", ["a", r"\d+"]),
        ("# only a comment", []),
        ("   ", []),
    ],
)
def test_lines_are_split_as_the_manual_says(line: str, expected: list[str]) -> None:
    assert words(line) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [('a "b', 'a " is opened'), ("a 'b", "a ' is opened"), (r"a \xZ1", "two hexadecimal digits")],
)
def test_an_unfinished_line_is_refused(line: str, message: str) -> None:
    with pytest.raises(UnreadableError, match=message) as caught:
        words(line)
    assert str(caught.value).startswith("haproxy.cfg:1: ")


# -- the fixture


def test_a_whole_file_is_read_with_its_lines() -> None:
    (found,) = haproxy.read(str(FIXTURE), FIXTURE.read_text()).pools
    lines = FIXTURE.read_text().splitlines()
    assert (found.kind, found.name) == ("haproxy", "keepserve")
    assert [value(fact) for fact in (found.keeps, found.idle_timeout, found.protocol, found.tls)] == [
        True,
        60.0,
        "http/1.1",
        False,
    ]
    assert [value(fact) for fact in (found.health_path, found.health_interval, found.health_threshold)] == [
        "/health",
        2.0,
        3,
    ]
    assert found.response_timeout is not None
    assert found.response_timeout.place == Place(str(FIXTURE), lines.index("    timeout server 60s") + 1)


def test_a_frontend_that_drops_idle_clients_on_reload_is_told() -> None:
    text = FIXTURE.read_text()
    assert haproxy.read(PATH, text).notes == ()
    (note,) = haproxy.read(PATH, text.replace("    option idle-close-on-response\n", "")).notes
    assert note.startswith("haproxy.cfg:16: without option idle-close-on-response")


# -- sections and inheritance


def test_a_proxy_takes_the_last_defaults_before_it() -> None:
    text = (
        "defaults\nmode http\ntimeout server 1s\ndefaults\nmode http\ntimeout server 2s\n"
        "backend app\nserver a :1\ndefaults\ntimeout server 3s\n"
    )
    (found,) = pools(text)
    assert value(found.response_timeout) == 2.0


def test_named_defaults_are_taken_by_name_and_from_each_other() -> None:
    text = (
        "defaults web\nmode http\ntimeout server 1s\ndefaults slow from web\ntimeout server 9s\n"
        "defaults other\nmode tcp\nbackend app from slow\nserver a :1\n"
    )
    (found,) = pools(text)
    assert value(found.response_timeout) == 9.0


def test_defaults_alone_inherit_nothing() -> None:
    (found,) = pools("defaults\nmode http\ntimeout server 1s\ndefaults\nmode http\nbackend app\nserver a :1\n")
    assert value(found.response_timeout) == math.inf


def test_an_option_that_is_inherited_can_be_undone() -> None:
    before = "defaults\noption http-server-close\noption httpchk GET /x"
    assert value(pool(before=before).keeps) is False
    found = pool("no option http-server-close", "no option httpchk", before=before, server="server a :1 check")
    assert value(found.keeps) is True
    assert found.health_path is None


def test_a_listen_section_is_a_backend_too() -> None:
    (found,) = pools("listen app\nmode http\nbind :1\nserver a :2\n")
    assert found.name == "app"


def test_mode_tcp_is_the_default_and_passes_bytes_on() -> None:
    (found,) = pools("backend app\nserver a :1 send-proxy-v2\n")
    assert found.keeps is None
    assert found.idle_timeout is None
    assert value(found.proxy_protocol) == "v2"
    assert "bytes are passed on" in found.notes[0]


# -- connections


@pytest.mark.parametrize(
    ("line", "seconds"),
    [("pool-purge-delay 5s", 60.0), ("pool-purge-delay 25s", 300.0), ("pool-purge-delay 500", 6.0)],
)
def test_twelve_purges_are_the_life_of_an_idle_connection(line: str, seconds: float) -> None:
    found = pool(server=f"server a :1 {line}")
    assert found.idle_timeout is not None
    assert found.idle_timeout.value == pytest.approx(seconds)
    assert found.idle_timeout.words == f"{line}, 12 times"
    assert "no idle timeout" in found.notes[0]


@pytest.mark.parametrize(
    ("line", "server", "words"),
    [
        ("http-reuse never", "server a :1", "http-reuse never"),
        ("option httpclose", "server a :1", "option httpclose"),
        ("option http-server-close", "server a :1", "option http-server-close"),
        ("", "server a :1 pool-max-conn 0", "pool-max-conn 0"),
        ("", "server a :1 pool-purge-delay 0", "pool-purge-delay 0"),
        ("", "server a :1 max-reuse 0", "max-reuse 0"),
    ],
)
def test_what_prevents_keeping_connections_is_found(line: str, server: str, words: str) -> None:
    found = pool(line, server=server)
    assert found.keeps is not None
    assert (found.keeps.value, found.keeps.words) == (False, words)
    assert found.keeps.remedy
    assert found.keeps.place is not None


def test_the_last_of_the_three_modes_counts() -> None:
    assert value(pool("option httpclose", "option http-keep-alive").keeps) is True
    assert value(pool("option http-keep-alive", "option httpclose").keeps) is False


@pytest.mark.parametrize(
    ("choice", "closed"),
    [
        ("default_backend app", True),
        ("use_backend app if TRUE", True),
        ("use_backend %[req.hdr(host)]", True),
        ("default_backend other", False),
    ],
)
def test_the_frontends_mode_counts_where_it_sends_to_the_backend(choice: str, closed: bool) -> None:
    found = pool(before=f"frontend f\nmode http\nbind :1\noption httpclose\n{choice}")
    assert found.keeps is not None
    assert found.keeps.value is not closed


def test_a_limit_on_reuse_is_a_number_of_requests() -> None:
    assert value(pool(server="server a :1 max-reuse 99").max_requests) == 100
    assert pool(server="server a :1 max-reuse -1").max_requests is None


# -- servers


@pytest.mark.parametrize(
    ("parameters", "protocol", "tls"),
    [
        ("", "http/1.1", False),
        ("proto h2", "h2", False),
        ("ssl verify none", "http/1.1", True),
        ("ssl alpn h2", "h2", True),
        ("ssl alpn h2,http/1.1", "h2 or http/1.1", True),
        ("alpn h2", "http/1.1", False),
        ("cookie ssl", "http/1.1", False),
    ],
)
def test_what_is_spoken_is_read(parameters: str, protocol: str, tls: bool) -> None:
    found = pool(server=f"server a :1 {parameters}")
    assert (value(found.protocol), value(found.tls)) == (protocol, tls)


@pytest.mark.parametrize(
    ("parameters", "sent"),
    [
        ("", "off"),
        ("send-proxy", "v1"),
        ("send-proxy-v2", "v2"),
        ("send-proxy-v2-ssl", "v2"),
        ("check-send-proxy", "off"),
    ],
)
def test_the_proxy_header_is_read(parameters: str, sent: str) -> None:
    assert value(pool(server=f"server a :1 {parameters}").proxy_protocol) == sent


def test_default_server_counts_for_servers_after_it_and_can_be_undone() -> None:
    text = "backend app\nmode http\nserver a :1\ndefault-server ssl inter 7s check\nserver b :2\nserver c :3 no-ssl\n"
    found = {one.name: (value(one.tls), one.health_interval is not None) for one in pools(text)}
    assert found == {"app/a": (False, False), "app/b": (True, True), "app/c": (False, True)}


def test_default_server_is_inherited_from_defaults() -> None:
    assert value(pool(before="defaults\ndefault-server proto h2").protocol) == "h2"


def test_servers_that_are_spoken_to_alike_are_one_pool() -> None:
    (found,) = pools("backend app\nmode http\nserver-template w 1-9 w.local:80 check\nserver b :2 check\n")
    assert found.name == "app"


# -- timeouts, retries and health


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("30s", 30.0), ("1500", 1.5), ("2m", 120.0), ("1h", 3600.0), ("500ms", 0.5), ("1d", 86400.0), ("0", math.inf)],
)
def test_times_are_read_as_haproxy_reads_them(written: str, seconds: float) -> None:
    assert value(pool(f"timeout server {written}").response_timeout) == seconds


@pytest.mark.parametrize(
    ("lines", "repeated"),
    [
        ([], False),
        (["retry-on conn-failure"], False),
        (["retry-on empty-response"], True),
        (["retry-on conn-failure 503"], True),
        (["retry-on all-retryable-errors"], True),
        (["retry-on all-retryable-errors", "retries 0"], False),
        (["retry-on all-retryable-errors", "http-request disable-l7-retry if METH_POST"], False),
        (["retry-on all-retryable-errors", "http-request disable-l7-retry unless METH_GET"], False),
        (["retry-on all-retryable-errors", "http-request disable-l7-retry if { path /x }"], True),
        (["retry-on all-retryable-errors", "retry-on none"], False),
    ],
)
def test_whether_a_post_is_repeated_is_read(lines: list[str], repeated: bool) -> None:
    assert value(pool(*lines).retries_post) is repeated


@pytest.mark.parametrize(
    ("lines", "path"),
    [
        ([], None),
        (["option httpchk"], "/"),
        (["option httpchk /health"], "/health"),
        (["option httpchk GET /health HTTP/1.1"], "/health"),
        (["option httpchk", "http-check send meth GET uri /ready"], "/ready"),
    ],
)
def test_the_path_of_the_checks_is_read(lines: list[str], path: str | None) -> None:
    found = pool(*lines, server="server a :1 check")
    assert (found.health_path.value if found.health_path is not None else None) == path
    assert (value(found.health_interval), value(found.health_threshold)) == (2.0, 3)


def test_without_check_there_are_no_checks() -> None:
    found = pool("option httpchk GET /health", server="server a :1 inter 1s")
    assert (found.health_path, found.health_interval, found.health_threshold) == (None, None, None)


# -- what is refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode http\nbackend app\n", 'haproxy.cfg:1: "mode" stands outside of any section'),
        ("backend\nserver a :1\n", 'haproxy.cfg:1: "backend" needs a name'),
        ("backend app from nowhere\n", 'haproxy.cfg:1: there is no "defaults nowhere" before this line'),
        ("global\nbakend app\n", 'haproxy.cfg:2: there is no "bakend"; did you mean "backend"?'),
        ("backend app\ntimeot server 1s\n", 'haproxy.cfg:2: there is no keyword "timeot"; did you mean "timeout"?'),
        ("backend app\nmode http\nserver a\n", 'haproxy.cfg:3: "server" needs a name and an address'),
        (
            "backend app\nmode http\nserver a :1 inter\n",
            'haproxy.cfg:3: "inter" at the end of this line has no value',
        ),
        ("backend app\nmode http\ntimeout server 60x\nserver a :1\n", 'haproxy.cfg:3: "60x" is not a time'),
        ("backend app\nmode http\ntimeout server\nserver a :1\n", 'haproxy.cfg:3: "timeout server" has no value'),
        ('backend app\nmode http\ntimeout server "$T"\nserver a :1\n', "Environment variables cannot be looked up"),
        ("backend app\nmode http\nserver a :1 check fall x\n", 'haproxy.cfg:3: "x" is not a number'),
        ("backend app\n.if version_atleast(2.8)\nmode http\n.endif\n", "haproxy.cfg:2: which lines count depends on"),
        ("backend app\nmode http\nserver a :1", "haproxy.cfg:3: the last line has no line end"),
        ("global\nmaxconn 5\n", "there is no backend or listen section"),
        ("# nothing\n", "there is no section in this file"),
    ],
)
def test_what_cannot_be_trusted_is_refused_with_its_line(text: str, message: str) -> None:
    assert message in refused(text)


def test_a_file_that_is_cut_within_any_of_its_lines_is_refused() -> None:
    text = FIXTURE.read_text()
    cuts = [count for count in range(1, len(text)) if text[count - 1] != "\n"]
    assert len(cuts) > 500
    for count in cuts[::7]:
        assert refused(text[:count])


def test_a_keyword_that_is_not_known_is_told() -> None:
    (note,) = haproxy.read(PATH, "backend app\nmode http\nzzz yes\nserver a :1\n").notes
    assert note == 'haproxy.cfg:3: the keyword "zzz" is not known and not taken into account.'


def test_messages_to_the_starter_are_no_settings() -> None:
    assert len(pools('global\n.notice "hello"\nbackend app\nmode http\nserver a :1\n')) == 1


@pytest.mark.parametrize(
    ("text", "fits"),
    [("defaults\n", True), ("  backend app # x\n", True), ("listen a from b\n", True), ("backend app {\n", False)],
)
def test_a_section_header_alone_on_its_line_is_what_such_a_file_looks_like(text: str, fits: bool) -> None:
    assert haproxy.looks_like(PATH, text) is fits
