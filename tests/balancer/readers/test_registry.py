"""Which kind a file is, and the files that are none: every one a sentence, never an empty reading."""

from pathlib import Path

import pytest

from keepserve.balancer.facts import UnreadableError
from keepserve.balancer.readers import LARGEST, kinds, parse_version, read_balancer

NGINX = "events {}\nhttp {\n    server { location / { proxy_pass http://127.0.0.1:8000; } }\n}\n"
HAPROXY = "backend app\n    mode http\n    server a 127.0.0.1:8000\n"


def refused(path: Path | str, kind: str | None = None) -> str:
    with pytest.raises(UnreadableError) as caught:
        read_balancer(str(path), kind)
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lb.conf"


@pytest.mark.parametrize(("text", "kind"), [(NGINX, "nginx"), (HAPROXY, "haproxy")])
def test_the_kind_is_told_by_the_text(file: Path, text: str, kind: str) -> None:
    file.write_text(text)
    reading = read_balancer(str(file))
    assert (reading.kind, reading.path) == (kind, str(file))
    assert len(reading.pools) == 1


def test_a_byte_order_mark_is_no_part_of_the_text(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + HAPROXY.encode())
    assert read_balancer(str(file)).kind == "haproxy"


def test_a_forced_kind_is_read_as_that_kind(file: Path) -> None:
    file.write_text(HAPROXY)
    assert "NGINX would not start with it" in refused(file, "nginx") or "middle of a directive" in refused(
        file, "nginx"
    )


def test_an_unknown_kind_names_all_known_ones(file: Path) -> None:
    file.write_text(NGINX)
    message = refused(file, "ngnix")
    assert message.startswith('There is no reader for "ngnix". Kinds: nginx, haproxy')
    assert all(kind in message for kind in kinds())


def test_a_text_of_no_kind_names_the_kinds_and_the_way_to_say_one(file: Path) -> None:
    file.write_text("Dear reader,\nthis is a letter.\n")
    message = refused(file)
    assert message.startswith(f"{file}: this is of no kind that can be read")
    assert "nginx, haproxy" in message
    assert "--balancer-kind" in message


def test_a_text_of_two_kinds_names_both(file: Path) -> None:
    file.write_text(NGINX + HAPROXY)
    assert "nginx or haproxy" in refused(file)


def test_a_manifest_that_holds_the_text_of_another_kind_is_a_manifest(tmp_path: Path) -> None:
    held = "\n".join("    " + line for line in NGINX.splitlines())
    manifest = (
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: n}}\ndata:\n  nginx.conf: |\n{held}\n---\n"
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: {a: b}}\n"
        "  template:\n    metadata: {labels: {a: b}}\n    spec: {containers: [{name: web, image: i}]}\n"
    )
    path = tmp_path / "web.yaml"
    path.write_text(manifest)
    assert read_balancer(str(path)).kind == "kubernetes"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "kind: Deployment\nspec:\n  - [a\n", "this is not YAML"),
        ("a.json", '{"kind": "Deployment",', "half a file"),
        ("a.toml", "[http.services\n", "this is not TOML"),
    ],
)
def test_a_broken_file_that_nobody_recognises_gets_its_syntax_error(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    (tmp_path / name).write_text(text)
    message = refused(tmp_path / name)
    assert words in message
    assert "of no kind" not in message


def test_a_missing_file_is_told(file: Path) -> None:
    assert refused(file).startswith(f"{file}: cannot be read (No such file or directory).")


def test_a_directory_is_told(tmp_path: Path) -> None:
    assert "Is a directory" in refused(tmp_path)


def test_what_is_no_regular_file_is_told() -> None:
    assert "not a regular file" in refused("/dev/null")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b" \n\t\n", "the file is empty"),
        (b"http {\n\xff\xfe\n}", ":2: this is not UTF-8 text"),
        (b"http {\n}\n\0", ":3: there is a zero byte"),
        (b"#" * (LARGEST + 1), "larger than 8 MiB"),
    ],
)
def test_what_is_no_text_is_told(file: Path, content: bytes, words: str) -> None:
    file.write_bytes(content)
    assert words in refused(file)


def test_versions_are_numbers_with_dots() -> None:
    assert parse_version("1.29.7") == (1, 29, 7)
    assert parse_version("v1.28") == (1, 28)
    for text in ("", "1.x", "latest", "1..2"):
        with pytest.raises(ValueError, match="is not a version"):
            parse_version(text)
