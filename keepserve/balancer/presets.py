"""Balancers by name: how long each keeps an idle connection to a server, and where that is documented.

Every number is the balancer's own default and carries its public source. ``confirmed`` is False where
the vendor does not document the number; such a preset says so wherever it is used. A preset without a
number (``idle`` is None) belongs to a balancer that has no limit, hides it, or keeps no HTTP connections.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True, slots=True)
class Preset:
    """One balancer.

    ``idle``: seconds an idle connection to a server is kept, None when there is no such number.
    ``setting``: where the number is set on the balancer, empty when it cannot be. ``source``: public URL.
    ``note``: what one should know; for presets without a number, what to do about it.
    ``drain_delay``: seconds of lame duck, where clients keep coming for a while after a stop signal.
    """

    name: str
    title: str
    idle: float | None
    setting: str
    source: str
    confirmed: bool = True
    note: str = ""
    drain_delay: float = 0.0

    @property
    def fixed(self) -> bool:
        """True when the number is known and cannot be changed on the balancer."""
        return bool(self.idle) and not self.setting

    @property
    def direct(self) -> bool:
        """True for ``none``: nobody stands in front, so there is nobody to outlast."""
        return self.idle == 0


_L4 = "Works below HTTP and keeps no connections of its own: the peer is the client, or the proxy, behind it"

# Kubernetes sends SIGTERM and takes a pod out of its endpoints at the same time, and it takes proxies some
# seconds to learn of the latter: 5 to 15 s are usual, and more of it must fit terminationGracePeriodSeconds.
# https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
_ENDPOINTS_LAG = 5.0
_LAG_NOTE = (
    "Kubernetes removes endpoints while it sends SIGTERM, hence the lame duck; "
    "with it, a stop may need more than the 30 s that pods have by default"
)

_ALL = (
    Preset(
        "alb",
        "AWS Application Load Balancer",
        60,
        "idle_timeout.timeout_seconds (1-4000)",
        "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html",
        note="One value for the client's and our side. It also bounds the wait for our first byte. ECS may send "
        "SIGTERM while the target is still being deregistered; how long that takes is not documented, so no lame "
        "duck is preset: set --drain-delay if connections are refused during deployments.",
    ),
    Preset(
        "nlb",
        "AWS Network Load Balancer",
        None,
        "listener attribute tcp.idle_timeout.seconds (350; 60-6000)",
        "https://docs.aws.amazon.com/elasticloadbalancing/latest/network/update-idle-timeout.html",
        note=f"{_L4}. Its TCP flows expire after 350 s; TCP keep-alive probes hold them open. It cuts the flows of "
        "a target that fails its health check, so no lame duck is preset",
    ),
    Preset(
        "classic-elb",
        "AWS Classic Load Balancer",
        60,
        "ConnectionSettings.IdleTimeout (1-3600)",
        "https://docs.aws.amazon.com/elasticloadbalancing/latest/classic/config-idle-timeout.html",
    ),
    Preset(
        "nginx",
        "nginx",
        60,
        "keepalive_timeout in upstream {}",
        "https://nginx.org/en/docs/http/ngx_http_upstream_module.html#keepalive_timeout",
        note="Reuses connections by itself since 1.29.7; before that it needs keepalive N in upstream {}.",
    ),
    Preset(
        "ingress-nginx",
        "Kubernetes ingress-nginx",
        60,
        "ConfigMap upstream-keepalive-timeout",
        "https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/configmap/#upstream-keepalive-timeout",
        note=_LAG_NOTE,
        drain_delay=_ENDPOINTS_LAG,
    ),
    Preset(
        "haproxy",
        "HAProxy",
        None,
        "server ... pool-purge-delay (5s)",
        "https://docs.haproxy.org/3.2/configuration.html#5.2-pool-purge-delay",
        note="Has no upper bound: every pool-purge-delay it closes half of the idle connections it can spare. "
        "Few live past a minute with the default of 5 s; with a longer one, raise --lb-idle-timeout",
    ),
    Preset(
        "envoy",
        "Envoy",
        3600,
        "cluster common_http_protocol_options.idle_timeout",
        "https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/timeouts",
    ),
    Preset(
        "istio",
        "Istio",
        3600,
        "DestinationRule connectionPool.http.idleTimeout",
        "https://istio.io/latest/docs/reference/config/networking/destination-rule/#ConnectionPoolSettings-HTTPSettings",
        note=_LAG_NOTE,
        drain_delay=_ENDPOINTS_LAG,
    ),
    Preset(
        "traefik",
        "Traefik",
        90,
        "serversTransport.forwardingTimeouts.idleConnTimeout",
        "https://doc.traefik.io/traefik/reference/routing-configuration/http/load-balancing/serverstransport/",
    ),
    Preset(
        "caddy",
        "Caddy",
        120,
        "reverse_proxy transport http { keepalive }",
        "https://caddyserver.com/docs/caddyfile/directives/reverse_proxy#the-http-transport",
    ),
    Preset(
        "apache",
        "Apache httpd mod_proxy_http",
        None,
        "ProxyPass ... ttl=60",
        "https://httpd.apache.org/docs/2.4/mod/mod_proxy.html#proxypass",
        note="Keeps idle connections without limit unless told otherwise; set ttl=60 on its ProxyPass line",
    ),
    Preset(
        "gcp",
        "Google Cloud Application Load Balancer",
        600,
        "",
        "https://docs.cloud.google.com/load-balancing/docs/https/request-distribution",
    ),
    Preset(
        "azure-appgw",
        "Azure Application Gateway",
        None,
        "",
        "https://learn.microsoft.com/azure/application-gateway/configuration-http-settings",
        confirmed=False,
        note="Reuses idle connections for a time that is not documented; if 502 answers appear, "
        "raise --lb-idle-timeout or use its dedicated backend connections",
    ),
    Preset(
        "azure-front-door",
        "Azure Front Door",
        90,
        "",
        "https://learn.microsoft.com/azure/frontdoor/front-door-troubleshoot-routing",
        confirmed=False,
        note="90 s stood in an older text of the vendor's limits page.",
    ),
    Preset(
        "azure-lb",
        "Azure Load Balancer",
        None,
        "rule idle timeout (4 min)",
        "https://learn.microsoft.com/azure/load-balancer/load-balancer-tcp-reset",
        note=f"{_L4}. Its TCP flows expire after 240 s, silently unless TCP Reset is on; "
        "TCP keep-alive probes hold them open.",
    ),
    Preset(
        "cloudflare",
        "Cloudflare",
        900,
        "",
        "https://developers.cloudflare.com/fundamentals/reference/connection-limits/",
    ),
    Preset(
        "cloudfront",
        "Amazon CloudFront",
        5,
        "OriginKeepaliveTimeout",
        "https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/DownloadDistValuesOrigin.html",
        note="If you raised it for your origin, give the same number as --lb-idle-timeout.",
    ),
    Preset(
        "heroku",
        "Heroku Router 2.0",
        90,
        "",
        "https://devcenter.heroku.com/articles/http-routing#keepalives",
    ),
    Preset(
        "fly",
        "Fly.io proxy",
        60,
        "http_options.idle_timeout",
        "https://fly.io/docs/reference/configuration/",
        confirmed=False,
        note="The setting is documented, its default of 60 s is not.",
    ),
    Preset(
        "kong",
        "Kong Gateway",
        60,
        "upstream_keepalive_idle_timeout",
        "https://developer.konghq.com/gateway/configuration/#upstream-keepalive-idle-timeout",
    ),
    Preset(
        "varnish",
        "Varnish",
        60,
        "backend_idle_timeout",
        "https://varnish-cache.org/docs/trunk/reference/varnishd.html#backend-idle-timeout",
    ),
    Preset(
        "linkerd",
        "Linkerd",
        3,
        "LINKERD2_PROXY_INBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT",
        "https://github.com/linkerd/linkerd2-proxy/blob/main/linkerd/app/src/env.rs",
        note=_LAG_NOTE,
        drain_delay=_ENDPOINTS_LAG,
    ),
    Preset(
        "none",
        "No balancer: clients connect directly",
        0,
        "",
        "https://www.rfc-editor.org/rfc/rfc9112.html#section-9.5",
        note="There is nobody to outlast; keep-alive may be as short as you like.",
    ),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}
"""Every preset by name, in the order they are shown."""


def find_preset(name: str) -> Preset:
    """The preset of that name, upper or lower case.

    Raises ValueError with a sentence that names the nearest preset and all of them.
    """
    word = name.strip().lower().replace("_", "-")
    if word in PRESETS:
        return PRESETS[word]
    near = get_close_matches(word, PRESETS, 1, cutoff=0.5)
    hint = f' Did you mean "{near[0]}"?' if near else ""
    raise ValueError(f'there is no preset "{name}".{hint} Presets: {", ".join(PRESETS)}')
