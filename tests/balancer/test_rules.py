"""The rules, one by one and both ways: settings and a pool in, a verdict and the lines that cure it out."""

import math
from typing import Any

import pytest

from keepserve.balancer import resolve
from keepserve.balancer.facts import Fact, Place, Pool
from keepserve.balancer.remedies import remedy
from keepserve.balancer.rules import Finding, Level, judge, worst

PLACE = Place("lb.conf", 7)
HERE = Place("lb.conf", 3)


def fact(value: Any, words: str = "directive", *, place: Place | None = PLACE, cure: str = "") -> Fact[Any]:
    return Fact(value, words, place, remedy=cure)


def judged(kind: str = "nginx", options: dict[str, object] | None = None, **facts: Fact[Any]) -> list[Finding]:
    resolution = resolve(options or {}, {})
    pool = Pool(kind=kind, name="app", place=HERE, **facts)
    return judge([pool], resolution.settings, resolution.origins)


def only(rule: str, findings: list[Finding]) -> Finding:
    (found,) = [finding for finding in findings if finding.rule == rule]
    return found


def test_nothing_is_said_about_what_is_not_known() -> None:
    assert judged() == []
    assert worst([]) is Level.OK


# -- keep-alive order


def test_a_balancer_that_lets_go_first_is_well() -> None:
    found = only(
        "keep-alive-order", judged(options={"lb": "nginx"}, idle_timeout=fact(60.0, "keepalive_timeout 60s"))
    )
    assert (found.level, found.ours, found.theirs) == (Level.OK, "", "")
    assert "keepalive_timeout 60s (lb.conf:7)" in found.sentence
    assert "20 s before keepserve would" in found.sentence


@pytest.mark.parametrize(("idle", "flag"), [(60.0, "--lb nginx"), (45.0, "--lb nginx --lb-idle-timeout 45")])
def test_clocks_that_fit_without_a_named_balancer_come_with_the_flag_to_add(idle: float, flag: str) -> None:
    found = only("keep-alive-order", judged(idle_timeout=fact(idle)))
    assert (found.level, found.ours) == (Level.OK, flag)


@pytest.mark.parametrize("idle", [80.0, 300.0])
def test_a_balancer_that_keeps_idle_connections_as_long_as_we_is_a_problem(idle: float) -> None:
    found = only("keep-alive-order", judged(idle_timeout=fact(idle, "keepalive_timeout")))
    assert found.level is Level.PROBLEM
    assert found.place == PLACE
    assert "502" in found.sentence
    assert found.ours == f"--lb nginx --lb-idle-timeout {idle:g}"
    assert found.theirs == "keepalive_timeout 60s;"


def test_a_chosen_keep_alive_is_what_has_to_change() -> None:
    options = {"keep_alive_timeout": "90", "lb_idle_timeout": "60"}
    found = only("keep-alive-order", judged(options=options, idle_timeout=fact(90.0)))
    assert (found.level, found.ours, found.theirs) == (
        Level.PROBLEM,
        "--keep-alive-timeout 110",
        "keepalive_timeout 70s;",
    )


def test_a_balancer_named_already_need_not_be_named_again() -> None:
    found = only("keep-alive-order", judged(options={"lb": "nginx"}, idle_timeout=fact(300.0)))
    assert found.ours == "--lb-idle-timeout 300"


@pytest.mark.parametrize(("idle", "level"), [(75.0, Level.OK), (75.5, Level.WARNING), (79.0, Level.WARNING)])
def test_a_thin_margin_is_a_warning(idle: float, level: Level) -> None:
    found = only("keep-alive-order", judged(options={"lb": "nginx"}, idle_timeout=fact(idle)))
    assert found.level is level
    assert ("lose the race" in found.sentence) is (level is Level.WARNING)


def test_without_a_limit_of_the_balancers_no_keep_alive_is_long_enough() -> None:
    found = only("keep-alive-order", judged("apache", idle_timeout=fact(math.inf, "no ttl")))
    assert found.level is Level.PROBLEM
    assert "no keep-alive of ours can be long enough" in found.sentence
    assert (found.ours, found.theirs) == ("", "ProxyPass ... ttl=60")


def test_the_order_is_a_warning_only_where_no_connection_is_kept_for_sure() -> None:
    written = judged(idle_timeout=fact(300.0), keeps=fact(False, "proxy_http_version 1.0"))
    default = judged(idle_timeout=fact(300.0), keeps=Fact(False, "keepalive", source="https://nginx.org"))
    assert only("keep-alive-order", written).level is Level.WARNING
    assert only("keep-alive-order", default).level is Level.PROBLEM


def test_a_balancer_that_passes_bytes_on_has_no_order() -> None:
    found = only("keep-alive-order", judged("nlb", idle_timeout=fact(350.0)))
    assert found.level is Level.OK
    assert "TCP keep-alive probes" in found.sentence


# -- connections


def test_a_connection_for_each_request_is_a_warning_about_cost() -> None:
    found = only("connections-kept", judged(keeps=fact(False, "no keepalive", cure="keepalive 32;")))
    assert (found.level, found.theirs, found.place) == (Level.WARNING, "keepalive 32;", PLACE)
    assert "Nothing is lost by it" in found.sentence


def test_kept_connections_are_well() -> None:
    assert only("connections-kept", judged(keeps=fact(True))).level is Level.OK


def test_who_ends_a_busy_connection_is_told_only() -> None:
    found = judged(max_requests=fact(1000), max_age=fact(math.inf))
    assert [one.level for one in found] == [Level.OK, Level.OK]
    assert "max_connection_requests (10000, default)" in found[0].sentence
    assert "no limit" in found[1].sentence


def test_the_limit_that_counts_for_http2_is_told_for_http2() -> None:
    found = judged(max_requests=fact(1000), protocol=fact("h2"))
    assert "http2_max_connection_requests (" in only("connection-limits", found).sentence


def test_connections_nobody_ends_are_told() -> None:
    found = only("connection-limits", judged(options={"max_connection_age": "0"}, max_age=fact(math.inf)))
    assert "new instances get few" in found.sentence


# -- the balancer's name


def test_another_balancer_than_the_file_is_a_warning() -> None:
    found = only("balancer-name", judged("envoy", {"lb": "nginx"}, idle_timeout=fact(60.0)))
    assert (found.level, found.ours) == (Level.WARNING, "--lb envoy --lb-idle-timeout 60")


@pytest.mark.parametrize(
    ("lb", "kind"),
    [("nginx", "nginx"), ("nginx", "ingress-nginx"), ("istio", "envoy"), (None, "alb"), ("alb", "ecs")],
)
def test_the_balancers_name_fits(lb: str | None, kind: str) -> None:
    assert judged(kind, {"lb": lb}) == []


def test_envoy_gateway_goes_by_envoys_name() -> None:
    found = only("keep-alive-order", judged("envoy-gateway", idle_timeout=fact(3600.0)))
    assert (found.level, found.ours) == (Level.PROBLEM, "--lb envoy")
    assert judged("envoy-gateway", {"lb": "envoy"}) == []


def test_one_of_several_balancers_in_a_row_is_the_named_one() -> None:
    resolution = resolve({"lb": "nginx"}, {})
    pools = [Pool(kind=kind, name="app", place=HERE) for kind in ("alb", "nginx")]
    assert judge(pools, resolution.settings, resolution.origins) == []


# -- what is spoken


def test_a_proxy_header_that_is_not_expected_is_a_problem() -> None:
    found = only("proxy-protocol", judged("haproxy", proxy_protocol=fact("v2", "send-proxy-v2")))
    assert (found.level, found.theirs) == (Level.PROBLEM, "server ... (without send-proxy)")
    assert found.place == PLACE


def test_no_proxy_header_on_either_side_is_well() -> None:
    assert only("proxy-protocol", judged(proxy_protocol=fact("off"))).level is Level.OK


@pytest.mark.parametrize(("sent", "level"), [("off", Level.PROBLEM), ("v1", Level.OK), ("v2", Level.OK)])
def test_where_keepserve_requires_the_header_it_has_to_come(sent: str, level: Level) -> None:
    options = {"proxy_protocol": "require", "proxy_protocol_from": "10.0.0.0/8"}
    found = only("proxy-protocol", judged("haproxy", options, proxy_protocol=fact(sent)))
    assert found.level is level
    assert found.ours == ("--proxy-protocol off" if level is Level.PROBLEM else "")


@pytest.mark.parametrize(
    ("theirs", "certificate", "level"),
    [
        (True, None, Level.PROBLEM),
        (False, "c.pem", Level.PROBLEM),
        (True, "c.pem", Level.OK),
        (False, None, Level.OK),
    ],
)
def test_tls_is_spoken_on_both_sides_or_on_neither(theirs: bool, certificate: str | None, level: Level) -> None:
    found = only("tls", judged(options={"ssl_certfile": certificate}, tls=fact(theirs)))
    assert found.level is level
    if level is Level.PROBLEM:
        assert found.theirs == f"proxy_pass {'http' if theirs else 'https'}://...;"
        assert found.ours == ("--ssl-certfile FILE --ssl-keyfile FILE" if theirs else "")


@pytest.mark.parametrize(
    ("spoken", "options", "level", "ours"),
    [
        ("h2", {}, Level.OK, ""),
        ("h2", {"http2": "off"}, Level.PROBLEM, "--http2 native"),
        ("h2", {"h2c": False}, Level.PROBLEM, "--h2c"),
        ("h2", {"h2c": False, "ssl_certfile": "c.pem"}, Level.OK, ""),
        ("h2 or http/1.1", {"http2": "off"}, Level.OK, ""),
        ("http/1.1", {"http2": "off", "h2c": False}, Level.OK, ""),
        ("http/1.0", {}, Level.WARNING, ""),
    ],
)
def test_the_version_spoken_must_be_one_we_accept(
    spoken: str, options: dict[str, object], level: Level, ours: str
) -> None:
    found = only("protocol", judged(options=options, protocol=fact(spoken)))
    assert (found.level, found.ours) == (level, ours)
    assert bool(found.theirs) is (level is not Level.OK)


@pytest.mark.parametrize(
    ("seconds", "words"), [(60.0, "504 when a response is silent for 60 s"), (math.inf, "limit")]
)
def test_how_long_the_balancer_waits_is_told(seconds: float, words: str) -> None:
    found = only("response-timeout", judged(response_timeout=fact(seconds)))
    assert found.level is Level.OK
    assert words in found.sentence


def test_envoys_timeout_is_for_the_whole_response() -> None:
    found = only("response-timeout", judged(kind="envoy", response_timeout=fact(15.0)))
    assert "not complete after 15 s" in found.sentence


def test_a_post_that_is_sent_twice_is_a_warning() -> None:
    found = only("retries", judged(retries_post=fact(True, "proxy_next_upstream error non_idempotent")))
    assert (found.level, found.theirs) == (Level.WARNING, "proxy_next_upstream error timeout;")
    assert only("retries", judged(retries_post=fact(False))).level is Level.OK


# -- health and stopping

CHECKED = {"health_path": fact("/health"), "health_interval": fact(2.0), "health_threshold": fact(3)}
OURS = {"health_path": "/health", "drain_delay": "10"}


@pytest.mark.parametrize(("delay", "level"), [("6", Level.OK), ("5.9", Level.WARNING), ("0", Level.WARNING)])
def test_the_balancer_must_notice_before_the_listeners_close(delay: str, level: Level) -> None:
    found = only("health", judged("haproxy", {**OURS, "drain_delay": delay}, **CHECKED))
    assert found.level is level
    assert "3 x 2 s = 6 s" in found.sentence
    assert found.ours == ("" if level is Level.OK else "--drain-delay 6")


def test_the_balancer_must_check_what_keepserve_answers() -> None:
    found = only("health", judged("haproxy", {**OURS, "health_path": "/other"}, **CHECKED))
    assert (found.level, found.ours, found.theirs) == (
        Level.WARNING,
        "--health-path /health",
        "option httpchk GET /other",
    )


def test_a_query_in_the_checked_path_is_no_difference() -> None:
    found = only("health", judged("haproxy", OURS, **{**CHECKED, "health_path": fact("/health?from=lb")}))
    assert found.level is Level.OK


def test_a_check_that_only_the_application_answers_is_a_warning_where_nobody_else_announces_a_stop() -> None:
    found = only("health", judged("haproxy", **CHECKED))
    assert (found.level, found.ours) == (Level.WARNING, "--health-path /health --drain-delay 6")
    assert only("health", judged("kubernetes", **CHECKED)).level is Level.OK


def test_a_check_that_only_connects_does_not_see_our_503() -> None:
    found = only("health", judged("haproxy", OURS, health_interval=fact(2.0), health_threshold=fact(3)))
    assert (found.level, found.theirs) == (Level.WARNING, "option httpchk GET /health")
    assert judged("haproxy", health_interval=fact(2.0), health_threshold=fact(3)) == []


def test_behind_nlb_health_must_not_fail_first() -> None:
    found = only("health", judged("nlb", OURS, **CHECKED))
    assert (found.level, found.ours) == (Level.WARNING, "--drain-delay 0")
    assert "cuts the connections" in found.sentence
    assert only("health", judged("nlb", {"health_path": "/health"}, **CHECKED)).level is Level.OK


def test_an_unknown_interval_is_told() -> None:
    assert "not known" in only("health", judged("haproxy", OURS, health_path=fact("/health"))).sentence


@pytest.mark.parametrize(("kill", "level"), [(28.0, Level.OK), (27.0, Level.PROBLEM)])
def test_a_stop_must_fit_before_the_kill(kill: float, level: Level) -> None:
    found = only("drain", judged("ecs", kill_after=fact(kill, "stopTimeout")))
    assert found.level is level
    if level is Level.OK:
        assert found.ours == "--stop-grace 28"
    else:
        assert (found.ours, found.theirs) == ("--drain-timeout 19", '"stopTimeout": 28')


def test_what_passes_before_the_signal_counts() -> None:
    found = judged("kubernetes", kill_after=fact(30.0), pre_stop=fact(10.0, "sleep 10"))
    first, second = [one for one in found if one.rule == "drain"]
    assert (first.level, first.ours, first.theirs) == (
        Level.PROBLEM,
        "--drain-timeout 12",
        "terminationGracePeriodSeconds: 38",
    )
    assert "of which 10 s pass before the signal (sleep 10 (lb.conf:7))" in first.sentence
    assert second.level is Level.OK


def test_a_grace_that_is_shorter_than_the_shutdown_alone_cannot_be_met_by_draining_less() -> None:
    found = only("drain", judged("ecs", kill_after=fact(5.0)))
    assert (found.level, found.ours) == (Level.PROBLEM, "")


def test_a_kill_that_never_comes_needs_no_room() -> None:
    assert judged("ecs", kill_after=fact(math.inf)) == []


@pytest.mark.parametrize(("delay", "level"), [("0", Level.WARNING), ("4", Level.WARNING), ("10", Level.OK)])
def test_a_pod_goes_on_accepting_while_it_is_taken_out(delay: str, level: Level) -> None:
    found = only("drain", judged("kubernetes", {"drain_delay": delay}))
    assert found.level is level
    assert found.ours == ("" if level is Level.OK else "--drain-delay 10")


@pytest.mark.parametrize(("seconds", "level"), [(300.0, Level.OK), (20.0, Level.OK), (15.0, Level.WARNING)])
def test_the_balancer_must_not_give_up_on_requests_before_we_do(seconds: float, level: Level) -> None:
    found = only("drain", judged("alb", {"lb": "alb"}, drain_time=fact(seconds)))
    assert found.level is level
    if level is Level.WARNING:
        assert found.ours == "--drain-timeout 15"
        assert found.theirs.endswith("Key=deregistration_delay.timeout_seconds,Value=20")


# -- words


def test_a_kind_without_a_template_gets_its_own_directive_back() -> None:
    assert remedy("unheard-of", "idle", fact(300.0, "patience 300"), seconds=60) == "patience 300: change it to 60"
    assert remedy("unheard-of", "tls off", fact(True)) == ""


def test_haproxy_is_told_the_interval_of_its_purges() -> None:
    assert remedy("haproxy", "idle", seconds=60) == "default-server pool-purge-delay 5000ms"


def test_the_worst_of_several_counts() -> None:
    findings = judged(tls=fact(True), retries_post=fact(True), keeps=fact(True))
    assert worst(findings) is Level.PROBLEM
    assert worst([one for one in findings if one.rule != "tls"]) is Level.WARNING
