"""Settings that exclude or need each other, apart from the ordering of times.

Two settings for one thing on the same level (two flags) are an error; on different levels the stronger
source wins, as everywhere, and the loser is named in a warning.
"""

from __future__ import annotations

from collections.abc import Mapping

from keepserve.config.problems import DEFAULT_ORIGIN, Origin, OriginKind, Problem
from keepserve.config.settings import FIELDS_BY_NAME, Settings
from keepserve.config.sources import Collected

Origins = Mapping[str, Origin]

_STRENGTH = {kind: rank for rank, kind in enumerate(OriginKind)}
# Each line is one way to say where to listen; bind may be repeated, so it never excludes itself.
_WAYS_TO_LISTEN = (("bind",), ("fd",), ("uds",), ("host", "port"))


def told(name: str, settings: Settings, origins: Origins) -> str:
    """A setting as messages name it: ``keep_alive_timeout (60 s, flag --keep-alive-timeout)``."""
    value = FIELDS_BY_NAME[name].show(getattr(settings, name))
    return f"{name} ({value}, {origins.get(name, DEFAULT_ORIGIN)})"


def settle(found: Collected) -> None:
    """Decide between settings that exclude each other; the losers leave ``found``."""
    present = [tuple(name for name in way if name in found.values) for way in _WAYS_TO_LISTEN]
    _keep_strongest(
        found,
        [way for way in present if way],
        "each say where to listen. Keep one of them; --bind may be given several times",
    )
    workers = found.values.get("workers", 1)
    if found.values.get("reload") is True and isinstance(workers, int) and workers > 1:
        _keep_strongest(
            found,
            [("reload",), ("workers",)],
            "exclude each other: reloading is for one development process. Drop one of them",
        )


def _keep_strongest(found: Collected, rivals: list[tuple[str, ...]], why: str) -> None:
    if len(rivals) < 2:
        return
    strengths = [max(_STRENGTH[found.origins[name].kind] for name in names) for names in rivals]
    best = max(strengths)
    winners = [names for names, strength in zip(rivals, strengths, strict=True) if strength == best]
    losers = [name for names in rivals if names not in winners for name in names]
    if len(winners) > 1:
        clashing = tuple(name for names in winners for name in names)
        found.problems.append(Problem(f"{_sources(found, clashing)} {why}.", clashing))
    for name in losers:
        origin = found.origins.pop(name)
        del found.values[name]
        # A platform sets PORT and WEB_CONCURRENCY whether one wants them or not: nothing to warn about.
        if origin.kind is not OriginKind.ENV or origin.detail not in FIELDS_BY_NAME[name].also_env:
            winner = _sources(found, winners[0])
            found.warnings.append(Problem(f"{name} ({origin}) is ignored: {winner} is stronger.", (name,)))


def _sources(found: Collected, names: tuple[str, ...]) -> str:
    words = [f"{name} ({found.origins[name]})" for name in names]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def check_combinations(settings: Settings, origins: Origins) -> tuple[list[Problem], list[Problem]]:
    """Settings that need each other. Returns (problems, warnings); pure."""
    problems: list[Problem] = []
    warnings: list[Problem] = []

    def needs(name: str, other: str, why: str) -> None:
        message = f"{told(name, settings, origins)} needs {FIELDS_BY_NAME[other].flag}: {why}."
        problems.append(Problem(message, (name, other)))

    if settings.ssl_certfile is None:
        for name in ("ssl_keyfile", "ssl_keyfile_password", "ssl_ca_certs"):
            if getattr(settings, name) is not None:
                needs(name, "ssl_certfile", "without a certificate there is no TLS at all")
        if settings.ssl_cert_reqs != "none":
            needs("ssl_cert_reqs", "ssl_certfile", "without a certificate there is no TLS at all")
    if settings.ssl_cert_reqs != "none" and settings.ssl_ca_certs is None:
        needs("ssl_cert_reqs", "ssl_ca_certs", "without authorities no client certificate can be verified")
    if settings.ssl_certfile and settings.ssl_ca_certs and settings.ssl_cert_reqs == "none":
        flag = "--ssl-cert-reqs required"
        warnings.append(
            Problem(
                f"{told('ssl_ca_certs', settings, origins)} has no effect: clients are not asked for a "
                f"certificate. Set {flag} or optional.",
                ("ssl_ca_certs", "ssl_cert_reqs"),
            )
        )
    if settings.limit_request_line > settings.limit_request_head:
        problems.append(
            Problem(
                f"{told('limit_request_line', settings, origins)} must not be larger than "
                f"{told('limit_request_head', settings, origins)}, which includes the request line. "
                f"Set --limit-request-head {settings.limit_request_line} or more.",
                ("limit_request_line", "limit_request_head"),
            )
        )
    for name in ("access_log_file", "access_log_format"):
        if getattr(settings, name) is not None and not settings.access_log:
            message = f"{told(name, settings, origins)} has no effect with --no-access-log."
            warnings.append(Problem(message, (name, "access_log")))
    if settings.health_path is not None and not settings.health_path.startswith("/"):
        problems.append(
            Problem(
                f'{told("health_path", settings, origins)} must begin with "/", as the path of every request does. '
                f"Set {FIELDS_BY_NAME['health_path'].flag} /{settings.health_path}.",
                ("health_path",),
            )
        )
    _check_proxy_protocol(settings, origins, problems, warnings)
    if settings.admin_allow_public and not settings.admin:
        message = f"{told('admin_allow_public', settings, origins)} has no effect without --admin."
        warnings.append(Problem(message, ("admin_allow_public", "admin")))
    if settings.reload_dir and not settings.reload:
        message = f"{told('reload_dir', settings, origins)} has no effect without --reload."
        warnings.append(Problem(message, ("reload_dir", "reload")))
    return problems, warnings


def _check_proxy_protocol(
    settings: Settings, origins: Origins, problems: list[Problem], warnings: list[Problem]
) -> None:
    names = ("proxy_protocol", "proxy_protocol_from")
    if settings.proxy_protocol == "require" and not settings.proxy_protocol_from:
        # No default would do: balancers connect from addresses that only their owner knows.
        problems.append(
            Problem(
                f"{told('proxy_protocol', settings, origins)} needs --proxy-protocol-from: the networks balancers "
                'connect from, unix for Unix sockets, or "*" where nobody else can reach the port. Whoever may send '
                "the header can claim any address.",
                names,
            )
        )
    elif settings.proxy_protocol == "off" and settings.proxy_protocol_from:
        message = f"{told('proxy_protocol_from', settings, origins)} has no effect without --proxy-protocol require."
        warnings.append(Problem(message, names))
