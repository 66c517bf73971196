"""Ingresses of the AWS Load Balancer Controller: an Application Load Balancer described by annotations."""

from __future__ import annotations

from dataclasses import replace

from keepserve.balancer.facts import Fact, Pool
from keepserve.balancer.readers import aws_pools
from keepserve.balancer.readers.tree import Mapping, Scalar

PREFIX = "alb.ingress.kubernetes.io/"

_DOCS = "https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/"
_IDLE = Fact(60.0, f"load-balancer-attributes: {aws_pools.IDLE}", source=aws_pools.BALANCER_DOCS)
_DELAY = Fact(300.0, f"target-group-attributes: {aws_pools.DELAY}", source=aws_pools.GROUP_DOCS)
_HTTP1 = Fact("http/1.1", "backend-protocol-version", source=_DOCS + "#backend-protocol-version")
_CLEAR = Fact(False, "backend-protocol", source=_DOCS + "#backend-protocol")
_PATH = Fact("/", "healthcheck-path", source=_DOCS + "#healthcheck-path")
_INTERVAL = Fact(15.0, "healthcheck-interval-seconds", source=_DOCS + "#healthcheck-interval-seconds")
_FAILURES = Fact(2, "unhealthy-threshold-count", source=_DOCS + "#unhealthy-threshold-count")


def is_alb(item: Mapping) -> bool:
    """Whether an Ingress is for that controller: by its class, or by an annotation that only it reads."""
    annotations = item.mapping("metadata", "annotations")
    if annotations is not None:
        if any(key.startswith(PREFIX) for key in annotations.entries):
            return True
        if annotations.string("kubernetes.io/ingress.class") == "alb":
            return True
    return item.string("spec", "ingressClassName") == "alb"


def alb_pool(item: Mapping) -> Pool:
    """The pool of one Ingress. Raises UnreadableError."""
    annotations = item.mapping("metadata", "annotations")
    found = annotations if annotations is not None else Mapping(item.place, {}, 1)

    def setting(name: str) -> Scalar | None:
        return found.scalar(PREFIX + name)

    balancer = aws_pools.Attributes(item.place, _pairs(setting("load-balancer-attributes")))
    pool = aws_pools.load_balancer_pool(balancer, "alb")
    if pool.idle_timeout is None:
        pool = aws_pools.with_idle_timeout(pool, _IDLE)
    protocol, version = setting("backend-protocol"), setting("backend-protocol-version")
    if version is not None and version.string() not in aws_pools.PROTOCOLS:
        raise version.wrong("HTTP1, HTTP2 or GRPC")
    path, interval = setting("healthcheck-path"), setting("healthcheck-interval-seconds")
    failures = setting("unhealthy-threshold-count")
    pool = replace(
        pool,
        name=f"Ingress {item.string('metadata', 'name') or '(unnamed)'}",
        drain_time=_DELAY,
        protocol=version.fact(aws_pools.PROTOCOLS[version.string()]) if version is not None else _HTTP1,
        tls=protocol.fact(protocol.string() == "HTTPS") if protocol is not None else _CLEAR,
        health_path=path.fact(path.string()) if path is not None else _PATH,
        health_interval=interval.fact(float(interval.integer(1))) if interval is not None else _INTERVAL,
        health_threshold=failures.fact(failures.integer(1)) if failures is not None else _FAILURES,
        notes=(
            *pool.notes,
            "An annotation of the Service, or an IngressClassParams object, wins over the Ingress's.",
        ),
    )
    group = aws_pools.Attributes(item.place, _pairs(setting("target-group-attributes")))
    return aws_pools.with_group_attributes(pool, group)


def _pairs(written: Scalar | None) -> dict[str, Scalar]:
    """``k1=v1,k2=v2`` as attributes, each with the annotation's place."""
    if written is None:
        return {}
    pairs = {}
    for part in written.string().split(","):
        key, equals, value = part.partition("=")
        if not equals:
            raise written.wrong("attributes such as idle_timeout.timeout_seconds=60, with commas between them")
        pairs[key.strip()] = replace(written, name=key.strip(), text=value.strip())
    return pairs
