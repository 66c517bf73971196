"""NGINX's files: what is in force where requests are passed on, by which line, and what is refused."""

from pathlib import Path

import pytest

from keepserve.balancer.facts import Pool, Reading, UnreadableError
from keepserve.balancer.readers import nginx, nginx_tree, read_balancer

ROOT = Path(__file__).parents[3]
DEPLOYED = ROOT / "deploy" / "nginx" / "nginx.conf"

KEPT = 'proxy_http_version 1.1; proxy_set_header Connection "";'


def read(tmp_path: Path, http: str, version: tuple[int, ...] | None = None, *, after: str = "") -> Reading:
    path = tmp_path / "nginx.conf"
    path.write_text("events {}\nhttp {\n" + http + "\n}\n" + after)
    return nginx.read(str(path), path.read_text(), version)


def pool(tmp_path: Path, http: str, version: tuple[int, ...] | None = None) -> Pool:
    (only,) = read(tmp_path, http, version).pools
    return only


def refused(tmp_path: Path, text: str) -> str:
    path = tmp_path / "nginx.conf"
    path.write_text(text)
    with pytest.raises(UnreadableError) as caught:
        nginx.read(str(path), text)
    return str(caught.value).replace(f"{tmp_path}/", "")


def one(location: str, upstream: str = "server a; keepalive 8;", server: str = "", http: str = "") -> str:
    return (
        f"upstream app {{ {upstream} }}\n{http}\n"
        f"server {{ {server}\nlocation / {{ proxy_pass http://app; {location} }} }}"
    )


def test_the_file_we_deploy_says_what_its_comments_say() -> None:
    (found,) = read_balancer(str(DEPLOYED)).pools
    line = DEPLOYED.read_text().splitlines().index("        keepalive_timeout 60s;") + 1
    assert found.name == "keepserve"
    assert found.keeps is not None
    assert found.keeps.value
    assert found.idle_timeout is not None
    assert (found.idle_timeout.value, found.idle_timeout.place) == (60.0, type(found.place)(str(DEPLOYED), line))
    assert found.max_requests is not None
    assert found.max_requests.value == 8000
    assert found.max_age is not None
    assert found.max_age.value == 3000.0
    assert found.protocol is not None
    assert found.protocol.value == "http/1.1"
    assert found.notes == ()


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90", 90.0), ("90s", 90.0), ("2m", 120.0), ("1m30s", 90.0), ('"1m 30s"', 90.0), ("500ms", 0.5), ("1h", 3600.0)],
)
def test_times_are_read_as_nginx_reads_them(tmp_path: Path, written: str, seconds: float) -> None:
    found = pool(tmp_path, one(KEPT, f"server a; keepalive 8; keepalive_timeout {written};"))
    assert found.idle_timeout is not None
    assert found.idle_timeout.value == seconds


def test_defaults_carry_their_source(tmp_path: Path) -> None:
    found = pool(tmp_path, one(KEPT))
    for fact, value in ((found.idle_timeout, 60.0), (found.max_age, 3600.0), (found.max_requests, 1000)):
        assert fact is not None
        assert (fact.value, fact.written) == (value, False)
        assert fact.source.startswith("https://nginx.org/en/docs/http/ngx_http_upstream_module.html#keepalive_")


# -- inheritance


def test_a_directive_counts_from_the_nearest_level(tmp_path: Path) -> None:
    found = pool(tmp_path, one(KEPT, http="proxy_read_timeout 10s;", server="proxy_read_timeout 20s;"))
    assert found.response_timeout is not None
    assert found.response_timeout.value == 20.0
    found = pool(tmp_path, one(KEPT + "proxy_read_timeout 30s;", server="proxy_read_timeout 20s;"))
    assert found.response_timeout is not None
    assert found.response_timeout.value == 30.0


def test_headers_set_on_the_outside_are_in_force_within(tmp_path: Path) -> None:
    found = pool(tmp_path, one("", http=KEPT))
    assert found.keeps is not None
    assert found.keeps.value


def test_one_header_on_the_inside_replaces_all_outer_ones(tmp_path: Path) -> None:
    found = pool(tmp_path, one("proxy_set_header Host $host;", http=KEPT))
    assert found.keeps is not None
    assert not found.keeps.value
    assert "replace all outer ones" in found.keeps.words
    assert "nginx.conf:6" in found.keeps.words
    assert found.keeps.remedy == 'proxy_set_header Connection "";'


def test_a_directive_after_the_pass_counts_too(tmp_path: Path) -> None:
    http = "upstream app { server a; keepalive 8; }\nserver { location / { proxy_pass http://app; } " + KEPT + " }"
    found = pool(tmp_path, http)
    assert found.keeps is not None
    assert found.keeps.value


def test_blocks_within_a_location_inherit_from_it(tmp_path: Path) -> None:
    http = (
        "upstream app { server a; keepalive 8; }\n"
        f"server {{ location / {{ {KEPT} proxy_read_timeout 7s;\n"
        "if ($request_method = POST) { proxy_pass http://app; } } }"
    )
    found = pool(tmp_path, http)
    assert found.response_timeout is not None
    assert found.response_timeout.value == 7.0


# -- whether connections are kept


@pytest.mark.parametrize(
    ("location", "upstream", "words"),
    [
        (KEPT, "server a;", "no keepalive in upstream app"),
        (KEPT, "server a; keepalive 0;", "keepalive 0"),
        (
            'proxy_http_version 1.0; proxy_set_header Connection "";',
            "server a; keepalive 8;",
            "proxy_http_version 1.0",
        ),
        ('proxy_set_header Connection "";', "server a; keepalive 8;", "proxy_http_version 1.0"),
        ("proxy_http_version 1.1;", "server a; keepalive 8;", "proxy_set_header Connection close"),
        (
            "proxy_http_version 1.1; proxy_set_header connection close;",
            "server a; keepalive 8;",
            "proxy_set_header connection close",
        ),
    ],
)
def test_an_older_nginx_needs_all_three_to_keep_connections(
    tmp_path: Path, location: str, upstream: str, words: str
) -> None:
    for version in (None, (1, 28, 0)):
        found = pool(tmp_path, one(location, upstream), version)
        assert found.keeps is not None
        assert (found.keeps.value, found.keeps.words) == (False, words)
        assert found.keeps.remedy


def test_all_that_is_missing_is_in_the_remedy(tmp_path: Path) -> None:
    found = pool(tmp_path, one("", "server a;"), (1, 28))
    assert found.keeps is not None
    assert found.keeps.remedy == 'keepalive 32; proxy_http_version 1.1; proxy_set_header Connection "";'
    assert found.protocol is not None
    assert found.protocol.value == "http/1.0"


def test_since_1_29_7_connections_are_kept_by_default(tmp_path: Path) -> None:
    found = pool(tmp_path, one("", "server a;"), (1, 29, 7))
    assert found.keeps is not None
    assert found.keeps.value
    assert found.protocol is not None
    assert found.protocol.value == "http/1.1"
    assert found.notes == ()


def test_even_since_1_29_7_a_file_can_forbid_it(tmp_path: Path) -> None:
    for location, upstream in (("proxy_http_version 1.0;", "server a;"), ("", "server a; keepalive 0;")):
        found = pool(tmp_path, one(location, upstream), (1, 31))
        assert found.keeps is not None
        assert not found.keeps.value


def test_without_a_version_both_defaults_are_told_where_they_decide(tmp_path: Path) -> None:
    (note,) = pool(tmp_path, one("", "server a;")).notes
    assert "1.29.7" in note
    assert "--balancer-version" in note
    assert pool(tmp_path, one("", "server a;"), (1, 28)).notes == ()
    assert pool(tmp_path, one("proxy_http_version 1.0;", "server a;")).notes == ()


def test_the_second_word_of_keepalive_is_understood(tmp_path: Path) -> None:
    found = pool(tmp_path, one(KEPT, "server a; keepalive 32 local;"))
    assert found.keeps is not None
    assert found.keeps.value


def test_an_address_without_an_upstream_block_is_never_kept(tmp_path: Path) -> None:
    found = pool(tmp_path, f"server {{ location / {{ proxy_pass http://127.0.0.1:8000/x; {KEPT} }} }}", (1, 31))
    assert found.name == "127.0.0.1:8000"
    assert found.idle_timeout is None
    assert found.keeps is not None
    assert (found.keeps.value, found.keeps.remedy) == (
        False,
        "upstream NAME { server 127.0.0.1:8000; keepalive 32; }",
    )


@pytest.mark.parametrize(
    ("entries", "kept"),
    [("default upgrade; '' close;", False), ("default upgrade; '' '';", True), ("default '';", True)],
)
def test_the_map_that_is_usual_for_websockets_is_followed(tmp_path: Path, entries: str, kept: bool) -> None:
    location = "proxy_http_version 1.1; proxy_set_header Connection $connection_upgrade;"
    found = pool(tmp_path, one(location, http=f"map $http_upgrade $connection_upgrade {{ {entries} }}"))
    assert found.keeps is not None
    assert found.keeps.value is kept


# -- what else is read


def test_http2_is_read(tmp_path: Path) -> None:
    found = pool(tmp_path, one("proxy_http_version 2;"))
    assert found.protocol is not None
    assert found.protocol.value == "h2"
    assert found.keeps is not None
    assert found.keeps.value


def test_grpc_is_http2(tmp_path: Path) -> None:
    http = (
        "upstream app { server a; keepalive 8; }\n"
        "server { location / { grpc_pass grpcs://app; grpc_read_timeout 5s; grpc_next_upstream non_idempotent; } }"
    )
    found = pool(tmp_path, http)
    assert [
        fact.value if fact is not None else None
        for fact in (found.protocol, found.tls, found.response_timeout, found.retries_post)
    ] == ["h2", True, 5.0, True]


@pytest.mark.parametrize(("scheme", "tls"), [("http", False), ("https", True)])
def test_tls_is_in_the_scheme(tmp_path: Path, scheme: str, tls: bool) -> None:
    found = pool(tmp_path, f"server {{ location / {{ proxy_pass {scheme}://10.0.0.1; }} }}")
    assert found.tls is not None
    assert found.tls.value is tls


def test_a_unix_socket_is_a_server_too(tmp_path: Path) -> None:
    assert (
        pool(tmp_path, "server { location / { proxy_pass http://unix:/run/k.sock:/api; } }").name
        == "unix:/run/k.sock"
    )


@pytest.mark.parametrize(
    ("written", "repeated"),
    [("error timeout", False), ("error non_idempotent", True), ("off", False), ("http_502 non_idempotent", True)],
)
def test_whether_a_post_is_repeated_is_read(tmp_path: Path, written: str, repeated: bool) -> None:
    found = pool(tmp_path, one(f"{KEPT} proxy_next_upstream {written};"))
    assert found.retries_post is not None
    assert found.retries_post.value is repeated
    assert "non_idempotent" not in found.retries_post.remedy


def test_active_checks_are_read(tmp_path: Path) -> None:
    found = pool(tmp_path, one(KEPT + "health_check uri=/health interval=10s fails=3;"))
    assert found.health_path is not None
    assert found.health_interval is not None
    assert found.health_threshold is not None
    assert (found.health_path.value, found.health_interval.value, found.health_threshold.value) == (
        "/health",
        10.0,
        3,
    )


def test_locations_that_treat_a_group_alike_are_one_pool(tmp_path: Path) -> None:
    http = (
        "upstream app { server a; keepalive 8; }\n"
        f"server {{ location /a {{ proxy_pass http://app; {KEPT} }}\n"
        f"location /b {{ proxy_pass http://app/x; {KEPT} }}\n"
        "location /c { proxy_pass http://app; proxy_http_version 1.1; } }"
    )
    names = [found.name.replace(str(tmp_path), "") for found in read(tmp_path, http).pools]
    assert names == ["app, passed to at /nginx.conf:4", "app, passed to at /nginx.conf:6"]


def test_servers_named_by_a_variable_are_told_and_not_guessed(tmp_path: Path) -> None:
    reading = read(tmp_path, "server { location / { proxy_pass http://$backend; } }")
    assert reading.pools == ()
    assert "names its servers by a variable" in reading.notes[0]


def test_a_stream_passes_bytes_on_and_may_send_the_proxy_header(tmp_path: Path) -> None:
    after = "stream { server { listen 1; proxy_pass 127.0.0.1:8000; proxy_protocol on; } }"
    (found,) = read(tmp_path, "", after=after).pools
    assert found.proxy_protocol is not None
    assert (found.proxy_protocol.value, found.keeps, found.idle_timeout) == ("v1", None, None)
    assert found.proxy_protocol.place is not None
    assert found.proxy_protocol.place.line == 5
    assert "passes bytes on" in found.notes[0]


# -- included files


def test_included_files_are_read_in_their_places(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "app.conf").write_text(
        "upstream app {\n    server a;\n    keepalive 8;\n    keepalive_timeout 33s;\n}\n"
        "server { location / { proxy_pass http://app; include kept.conf; } }\n"
    )
    (tmp_path / "kept.conf").write_text(KEPT)
    found = pool(tmp_path, "include conf.d/*.conf;")
    assert found.idle_timeout is not None
    assert str(found.idle_timeout.place) == f"{tmp_path}/conf.d/app.conf:4"
    assert found.keeps is not None
    assert found.keeps.value


def test_an_error_in_an_included_file_names_that_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text("upstream app {\n    server a;\n    keepalive;\n}\n")
    message = refused(tmp_path, "events {}\nhttp { include app.conf; }\n")
    assert message.startswith("app.conf:3: ")
    assert "keepalive" in message


def test_a_missing_included_file_is_no_pass(tmp_path: Path) -> None:
    message = refused(tmp_path, "events {}\nhttp {\n    include there.conf;\n}\n")
    assert message.startswith("nginx.conf:3: a file that is included here cannot be read (No such file or directory")


def test_a_file_that_includes_itself_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("include b.conf;")
    (tmp_path / "b.conf").write_text("include a.conf;")
    assert "a.conf: this file includes itself" in refused(tmp_path, "events {}\nhttp { include a.conf; }\n")


# -- what is refused


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("events {}\nhttp {\n    upstream app {\n        server a;\n", 'unexpected end of file, expecting "}"'),
        ("events {}\nhttp { server { listen 80; } } }\n", 'unexpected "}"'),
        ("events {}\nhttp {\n    upstream app {\n        keepalive 8\n    }\n}\n", "nginx.conf:4: "),
        ("events {}\nkeepalive_timeout 5s", "middle of a directive"),
        ("events {}\nhttp { upstream a { proxy_read_timeout 5s; } }\n", "not allowed here"),
        ("events {}\n", "there is no http block"),
        ("upstream app { server a; keepalive 8; }\n", "nginx.conf"),
        ("events {}\nhttp { upstream a { keepalive_timout 5s; } }\n", 'did you mean "keepalive_timeout"?'),
    ],
)
def test_what_nginx_would_not_start_with_is_refused(tmp_path: Path, text: str, words: str) -> None:
    assert words in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("upstream", "words"),
    [
        ("keepalive_timeout 60x;", 'nginx.conf:3: "60x" is not a time'),
        ("keepalive_timeout 1s1m;", '"1s1m" is not a time'),
        ("keepalive many;", '"many" is not a number'),
    ],
)
def test_a_value_that_is_none_is_refused_with_its_line(tmp_path: Path, upstream: str, words: str) -> None:
    assert words in refused(tmp_path, f"events {{}}\nhttp {{\n{one(KEPT, 'server a; ' + upstream)}\n}}\n")


def test_a_file_that_is_cut_after_any_of_its_lines_is_refused(tmp_path: Path) -> None:
    lines = [line for line in DEPLOYED.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(lines) > 30
    for count in range(1, len(lines)):
        assert refused(tmp_path, "\n".join(lines[:count]) + "\n")


def test_directives_of_modules_are_nothing_to_complain_about(tmp_path: Path) -> None:
    assert pool(tmp_path, one(KEPT, http="brotli on; more_set_headers 'A: b';")).name == "app"


def test_without_crossplane_the_way_to_install_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nginx_tree, "crossplane", None)
    assert "pip install 'keepserve[check]'" in refused(tmp_path, "http {}")
