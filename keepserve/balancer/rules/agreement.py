"""Rules about what is spoken: PROXY protocol, TLS, HTTP version; and what happens when we are slow or fail."""

from __future__ import annotations

import math

from keepserve.balancer.rules.finding import Case, Level
from keepserve.config.durations import format_duration
from keepserve.config.settings import Settings


def our_proxy_protocol(settings: Settings) -> bool:
    """Whether keepserve expects the PROXY protocol's header on every connection."""
    return settings.proxy_protocol != "off"


def proxy_protocol(case: Case) -> None:
    """On both sides or on neither: one that sends it to one that does not expect it loses every request."""
    fact = case.pool.proxy_protocol
    if fact is None:
        return
    sends, expects = fact.value != "off", our_proxy_protocol(case.settings)
    if sends and not expects:
        case.add(
            "proxy-protocol",
            Level.PROBLEM,
            f"The balancer begins every connection with a PROXY protocol header ({fact}), which keepserve does not "
            "expect: it would answer 400 to all of them. Require it, and name the addresses the balancer connects "
            "from, or leave it off: the client's address comes in X-Forwarded-For as well.",
            fact,
            ours="--proxy-protocol require --proxy-protocol-from NETWORKS",
            theirs=case.theirs("proxy off", fact),
        )
    elif expects and not sends:
        case.add(
            "proxy-protocol",
            Level.PROBLEM,
            f"keepserve requires a PROXY protocol header on every connection ({case.told('proxy_protocol')}), and "
            f"the balancer sends none ({fact}): every connection is closed.",
            fact,
            ours="--proxy-protocol off",
        )
    else:
        word = "Both sides use" if sends else "Neither side uses"
        case.ok("proxy-protocol", f"{word} the PROXY protocol ({fact}).", fact)


def tls(case: Case) -> None:
    """Encrypted on both sides or on neither."""
    fact = case.pool.tls
    if fact is None:
        return
    ours = case.settings.ssl_certfile is not None
    if fact.value and not ours:
        case.add(
            "tls",
            Level.PROBLEM,
            f"The balancer speaks TLS to keepserve ({fact}), which has no certificate: every handshake fails.",
            fact,
            ours="--ssl-certfile FILE --ssl-keyfile FILE",
            theirs=case.theirs("tls off", fact),
        )
    elif ours and not fact.value:
        case.add(
            "tls",
            Level.PROBLEM,
            f"keepserve speaks TLS ({case.told('ssl_certfile')}) and the balancer does not ({fact}): no request "
            "arrives. Leave the certificate out, or encrypt on the balancer's side too.",
            fact,
            theirs=case.theirs("tls on", fact),
        )
    else:
        case.ok("tls", f"{'Both sides speak' if ours else 'Neither side speaks'} TLS ({fact}).", fact)


def protocol(case: Case) -> None:
    """The HTTP version the balancer speaks must be one we accept."""
    fact = case.pool.protocol
    if fact is None:
        return
    s = case.settings
    if fact.value == "h2" and s.http2 == "off":
        case.add(
            "protocol",
            Level.PROBLEM,
            f"The balancer speaks HTTP/2 to keepserve ({fact}), which has it turned off: {case.told('http2')}.",
            fact,
            ours="--http2 native",
            theirs=case.theirs("http/1.1", fact),
        )
    elif fact.value == "h2" and s.ssl_certfile is None and not s.h2c:
        case.add(
            "protocol",
            Level.PROBLEM,
            f"The balancer speaks HTTP/2 without TLS ({fact}), which keepserve does not accept: {case.told('h2c')}.",
            fact,
            ours="--h2c",
            theirs=case.theirs("http/1.1", fact),
        )
    elif fact.value == "http/1.0":
        case.add(
            "protocol",
            Level.WARNING,
            f"The balancer speaks HTTP/1.0 ({fact}): it keeps no connections, and streamed responses have no end "
            "one could check, so a cut one looks complete.",
            fact,
            theirs=case.theirs("http/1.1", fact),
        )
    else:
        words = {"h2": "HTTP/2", "http/1.1": "HTTP/1.1", "h2 or http/1.1": "HTTP/2 or HTTP/1.1, by ALPN"}
        case.ok("protocol", f"Spoken to keepserve: {words.get(fact.value, fact.value)} ({fact}).", fact)


_WHOLE_RESPONSE = ("envoy", "istio", "envoy-gateway")
"""Balancers whose timeout of a route is for the whole response, not for silence."""


def response_timeout(case: Case) -> None:
    """How long the balancer waits for us: told, since keepserve has no limit of its own on a running request."""
    fact = case.pool.response_timeout
    if fact is None:
        return
    if math.isinf(fact.value):
        case.ok("response-timeout", f"The balancer waits for a response without limit ({fact}).", fact)
        return
    if case.pool.kind in _WHOLE_RESPONSE:
        case.ok(
            "response-timeout",
            f"The balancer answers 504, or cuts the response off, when it is not complete after "
            f"{format_duration(fact.value)} ({fact}). keepserve lets the application run on; streams need more.",
            fact,
        )
        return
    case.ok(
        "response-timeout",
        f"The balancer answers 504 when a response is silent for {format_duration(fact.value)} ({fact}). keepserve "
        "lets the application run on; what may take longer should send something meanwhile.",
        fact,
    )


def retries(case: Case) -> None:
    """A POST that has been sent must not be sent again (RFC 9110 section 9.2.2)."""
    fact = case.pool.retries_post
    if fact is None:
        return
    if fact.value:
        case.add(
            "retries",
            Level.WARNING,
            f"The balancer repeats requests that may have been processed already, POST included ({fact}): an order "
            "can be placed twice. Leave it only if the application recognises repeated requests.",
            fact,
            theirs=case.theirs("no post", fact),
        )
    else:
        case.ok("retries", f"A POST that was sent is not sent again ({fact}).", fact)
