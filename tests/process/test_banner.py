"""The start-up message."""

from __future__ import annotations

from typing import Any

import pytest

from keepserve.config import Settings
from keepserve.process.banner import banner


def _text(**settings: Any) -> str:
    return banner(Settings(**settings), ["http://127.0.0.1:8000", "unix:/run/a"], loop="uvloop")


def test_it_says_where_with_how_many_workers_and_how_long_connections_live() -> None:
    text = _text(workers=4, lb="alb", http1="h11")
    assert "4 workers on uvloop\n" in text
    assert "HTTP/1.1 (h11), HTTP/2 (native, by prior knowledge)" in text
    assert "http://127.0.0.1:8000, unix:/run/a" in text
    assert "alb drops idle connections after 60 s; keepserve keeps them 80 s, 20 s longer" in text
    assert "idle 80 s, request head 10 s from its first byte, both together 90 s" in text
    assert "running requests get 20 s, then 3 s to clean up" in text


def test_it_says_how_a_stop_begins() -> None:
    assert "stop      running requests get" in _text()
    assert "stop      /up says 503; running requests get" in _text(health_path="/up")
    assert "stop      serves on for 5 s; then running requests get" in _text(drain_delay=5.0)
    told = _text(drain_delay=5.0, health_path="/up")
    assert "stop      serves on for 5 s while /up says 503; then running requests get 20 s" in told


def test_it_says_where_the_server_can_be_watched() -> None:
    def admin(**settings: Any) -> str:
        return banner(Settings(**settings), ["http://127.0.0.1:8000"], loop="uvloop", admin=["http://127.0.0.1:9090"])

    assert "\n    admin     http" not in _text(admin=":9090")  # what counts is what was bound
    assert admin().endswith("\nadmin     http://127.0.0.1:9090: a page, /status and /metrics")
    assert admin(admin_allow_public=True).endswith(
        "metrics, where whoever reaches it may look (--admin-allow-public)"
    )


def test_without_a_balancer_named_it_says_what_is_assumed() -> None:
    text = _text()
    assert "1 worker on" in text
    assert "not named (--lb); taken as one that drops idle connections after 60 s" in text


def test_a_balancer_without_a_known_timeout_is_told() -> None:
    assert "apache has no known idle timeout; taken as one that drops" in _text(lb="apache")


def test_a_timeout_of_ones_own_counts_rather_than_the_presets() -> None:
    assert "alb drops idle connections after 600 s; keepserve keeps them 620 s" in _text(
        lb="alb", lb_idle_timeout=600.0
    )


def test_without_any_balancer_nobody_is_outlasted() -> None:
    assert "none to outlast; idle connections are kept 80 s" in _text(lb="none", lb_idle_timeout=0.0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"http2": "off"}, "speaks    HTTP/1.1 (httptools)\n"),
        ({"ssl_certfile": "a"}, "HTTP/2 (native, by ALPN and by prior knowledge)"),
        ({"ssl_certfile": "a", "h2c": False, "http2": "h2"}, "HTTP/2 (h2, by ALPN)"),
        ({"h2c": False}, "HTTP/2 needs TLS (--ssl-certfile), since --no-h2c is set"),
    ],
)
def test_it_says_which_protocols_are_spoken_and_how_one_gets_them(settings: dict[str, Any], said: str) -> None:
    assert said in _text(**settings)


def test_watched_directories_are_named() -> None:
    text = banner(Settings(reload=True), ["unix:/a"], loop="asyncio", watched=["/src"])
    assert "when a .py file changes in /src" in text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "nobody: the client is whoever connects (--forwarded-allow-ips)"),
        ({"forwarded_allow_ips": ("*",), "proxy_headers": False}, "nobody: the client is whoever connects"),
        (
            {"forwarded_allow_ips": ("10.0.0.0/8", "unix")},
            "X-Forwarded-For and -Proto of 10.0.0.0/8, peers on Unix sockets\n",
        ),
        (
            {"forwarded_allow_ips": ("10.0.0.7",), "forwarded_host": True},
            "X-Forwarded-For, -Proto, -Host and -Port of 10.0.0.7\n",
        ),
        (
            {"forwarded_allow_ips": ("10.0.0.7",), "forwarded_header": "forwarded"},
            "Forwarded but for its host of 10.0.0.7\n",
        ),
        (
            {"forwarded_allow_ips": ("*",), "forwarded_header": "forwarded", "forwarded_host": True},
            "Forwarded of everybody, so that any client can say it is another\n",
        ),
        (
            {"proxy_protocol": "require", "proxy_protocol_from": ("10.0.0.0/8",)},
            "the PROXY header of 10.0.0.0/8, which every connection must have\n",
        ),
        (
            {
                "proxy_protocol": "require",
                "proxy_protocol_from": ("10.0.0.0/8",),
                "forwarded_allow_ips": ("203.0.113.7",),
            },
            "the PROXY header of 10.0.0.0/8, which every connection must have; "
            "X-Forwarded-For and -Proto of 203.0.113.7",
        ),
    ],
)
def test_it_says_who_may_say_that_the_client_is_somebody_else(settings: dict[str, Any], said: str) -> None:
    assert f"\ntrusts    {said}" in _text(**settings)
