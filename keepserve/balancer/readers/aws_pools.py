"""What AWS's descriptions of load balancers and target groups mean for connections to us."""

from __future__ import annotations

from dataclasses import replace

from keepserve.balancer.facts import Fact, Place, Pool
from keepserve.balancer.readers.tree import Mapping, Scalar, Sequence

_ALB_DOCS = "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/"
_NLB_DOCS = "https://docs.aws.amazon.com/elasticloadbalancing/latest/network/"
_CLASSIC_DOCS = "https://docs.aws.amazon.com/elasticloadbalancing/latest/classic/"

BALANCER_DOCS = _ALB_DOCS + "edit-load-balancer-attributes.html"
GROUP_DOCS = _ALB_DOCS + "edit-target-group-attributes.html"

_ALB_KEEPS = Fact(True, "keep-alive, not adjustable", source=BALANCER_DOCS)
_ALB_NO_PROXY_PROTOCOL = Fact("off", "PROXY protocol, not offered", source=GROUP_DOCS)
PROTOCOLS = {"HTTP1": "http/1.1", "HTTP2": "h2", "GRPC": "h2"}
_LAYER4 = ("TCP", "TLS", "UDP", "TCP_UDP", "QUIC", "TCP_QUIC")

IDLE = "idle_timeout.timeout_seconds"
DELAY = "deregistration_delay.timeout_seconds"
PROXY_PROTOCOL = "proxy_protocol_v2.enabled"
CUTS_UNHEALTHY = "target_health_state.unhealthy.connection_termination.enabled"
CUTS_DEREGISTERED = "deregistration_delay.connection_termination.enabled"
FORWARDED_FOR = "routing.http.xff_header_processing.mode"
TCP_IDLE = "tcp.idle_timeout.seconds"

_NLB_ONLY = (PROXY_PROTOCOL, CUTS_UNHEALTHY, CUTS_DEREGISTERED, TCP_IDLE, "preserve_client_ip.enabled")
_NLB_BALANCER = ("dns_record.client_routing_policy",)


class Attributes:
    """Attributes by their keys; ``place`` is where they stand as a whole."""

    def __init__(self, place: Place, values: dict[str, Scalar]) -> None:
        self.place = place
        self._values = values

    @classmethod
    def listed(cls, pairs: Sequence) -> Attributes:
        """From a list of mappings with a Key and a Value; one without a value is left out."""
        values = {}
        for pair in pairs.mappings():
            value = pair.scalar("Value")
            if value is not None:
                # The value's line, under the attribute's own name: "Value: 60" would name nothing.
                key = pair.needed("Key").string()
                values[key] = replace(value, name=key)
        return cls(pairs.place, values)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def get(self, key: str) -> Scalar | None:
        """The value of an attribute, named after it."""
        return self._values.get(key)

    @property
    def kind(self) -> str:
        """``alb`` or ``nlb``, by attributes that only one of them has."""
        if IDLE in self:
            return "alb"
        return "nlb" if any(key in self for key in (*_NLB_ONLY, *_NLB_BALANCER)) else "alb"


def of_target_group(attributes: Attributes) -> bool:
    """Whether these are a target group's; otherwise a load balancer's or a listener's."""
    return DELAY in attributes or PROXY_PROTOCOL in attributes or "stickiness.enabled" in attributes


def load_balancer_pool(attributes: Attributes, kind: str = "") -> Pool:
    """The pool of a load balancer or a listener from its attributes, which tell its kind when nobody else does."""
    pool = Pool(kind=kind or attributes.kind, name="load balancer", place=attributes.place)
    if pool.kind == "nlb":
        return replace(pool, notes=(_tcp_note(attributes.get(TCP_IDLE)),))
    notes = []
    mode = attributes.get(FORWARDED_FOR)
    if mode is not None and mode.text != "append":
        what = (
            "takes X-Forwarded-For away, so the application never learns the client's address"
            if mode.text == "remove"
            else "passes the client's own X-Forwarded-For on, which may say anything"
        )
        notes.append(f"{mode.words} ({mode.place}): the load balancer {what}.")
    pool = replace(pool, keeps=_ALB_KEEPS, proxy_protocol=_ALB_NO_PROXY_PROTOCOL, notes=tuple(notes))
    idle = attributes.get(IDLE)
    return with_idle_timeout(pool, idle.fact(float(idle.integer(1)))) if idle is not None else pool


def with_idle_timeout(pool: Pool, idle: Fact[float]) -> Pool:
    """An application load balancer with its idle timeout."""
    # One value for both: a target that sends nothing for that long has answered too late, with 504.
    return replace(pool, idle_timeout=idle, response_timeout=idle)


def _tcp_note(idle: Scalar | None) -> str:
    seconds, where = (idle.text, f" ({idle.place})") if idle is not None else ("350", " by default")
    return (
        f"A Network Load Balancer keeps no connections of its own; its flows expire after {seconds} s without a "
        f"packet{where}, so TCP keep-alive probes have to come more often than that."
    )


def classic_pool(attributes: Mapping) -> Pool:
    """The pool of a Classic Load Balancer (``aws elb describe-load-balancer-attributes``)."""
    idle = attributes.scalar("ConnectionSettings", "IdleTimeout") if attributes.has("ConnectionSettings") else None
    draining = attributes.mapping("ConnectionDraining")
    on = draining is not None and draining.needed("Enabled").boolean()
    delay = draining.scalar("Timeout") if draining is not None and on else None
    return Pool(
        kind="classic-elb",
        name="load balancer",
        place=attributes.place,
        idle_timeout=idle.fact(float(idle.integer(1)))
        if idle is not None
        else Fact(60.0, "ConnectionSettings.IdleTimeout", source=_CLASSIC_DOCS + "config-idle-timeout.html"),
        drain_time=delay.fact(float(delay.integer())) if delay is not None else None,
    )


def target_group_pool(group: Mapping) -> Pool | None:
    """The pool of a target group; None for functions, which have no connections."""
    protocol = group.scalar("Protocol")
    spoken = protocol.string() if protocol is not None else ""
    if group.string("TargetType") == "lambda" or protocol is None:
        return None
    kind = "nlb" if spoken in _LAYER4 else "alb"
    version = group.scalar("ProtocolVersion")
    if version is not None and version.string() not in PROTOCOLS:
        raise version.wrong("HTTP1, HTTP2 or GRPC")
    path, interval = group.scalar("HealthCheckPath"), group.scalar("HealthCheckIntervalSeconds")
    threshold = group.scalar("UnhealthyThresholdCount")
    notes = []
    check = group.scalar("HealthCheckProtocol")
    if check is not None and check.string() not in ("HTTP", "HTTPS"):
        notes.append(
            f"{check.words} ({check.place}): such a check asks no HTTP path, so it does not see that we drain."
        )
    return Pool(
        kind=kind,
        name=group.string("TargetGroupName") or "target group",
        place=group.place,
        protocol=version.fact(PROTOCOLS[version.string()]) if version is not None and kind == "alb" else None,
        tls=protocol.fact(spoken in ("HTTPS", "TLS")),
        proxy_protocol=_ALB_NO_PROXY_PROTOCOL if kind == "alb" else None,
        health_path=path.fact(path.string()) if path is not None else None,
        health_interval=interval.fact(float(interval.integer(1))) if interval is not None else None,
        health_threshold=threshold.fact(threshold.integer(1)) if threshold is not None else None,
        notes=tuple(notes),
    )


def with_group_attributes(pool: Pool, attributes: Attributes) -> Pool:
    """The pool with what its target group's attributes say."""
    notes = list(pool.notes)
    delay, sent = attributes.get(DELAY), attributes.get(PROXY_PROTOCOL)
    for key, when in (
        (CUTS_UNHEALTHY, "as soon as health checks fail, so a drain must not begin by failing them"),
        (CUTS_DEREGISTERED, "when the deregistration delay ends"),
    ):
        cuts = attributes.get(key)
        if cuts is not None and cuts.boolean() and pool.kind == "nlb":
            notes.append(f"{cuts.words} ({cuts.place}): live connections are cut {when}.")
    return replace(
        pool,
        drain_time=delay.fact(float(delay.integer())) if delay is not None else pool.drain_time,
        proxy_protocol=sent.fact("v2" if sent.boolean() else "off") if sent is not None else pool.proxy_protocol,
        notes=tuple(notes),
    )


def joined(group: Pool, balancer: Pool) -> Pool:
    """A target group's pool with its load balancer's timeouts: together they are all there is to know."""
    return replace(
        group,
        name=f"{balancer.name}, target group {group.name}",
        keeps=balancer.keeps,
        idle_timeout=balancer.idle_timeout,
        response_timeout=balancer.response_timeout,
        notes=(*balancer.notes, *group.notes),
    )
