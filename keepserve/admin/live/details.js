// Everything else: figures that matter when something is wrong, in groups. Each: an id, a name, a text, the value.

function one(id, name, count) {
  return [id, name, whole(count), count];
}

function each(prefix, counts, name) {
  return Object.entries(counts).map(([key, count]) => one(`${prefix}-${key}`, name(key), count));
}

function timeout(id, name, seconds) {
  return [id, name, known(seconds) ? bound(seconds) : NONE, seconds];
}

function certificate(status) {
  const expires = status.tls.certificate_expires;
  if (!expires) return NONE;
  const left = expires - status.now;
  return left > 0 ? `${many(Math.floor(left / 86400), "day", "days")} left` : "has expired";
}

function requestGroups({ requests, overdue }) {
  return [
    ["Answers", [
      ...each("status", requests.by_status, (key) => key),
      ...each("rejected", requests.rejected, (key) => `refused with ${key === "other" ? "another status" : key}`),
    ]],
    ["Methods", each("method", requests.by_method, (key) => key)],
    ["Requests", [
      one("running", "running", requests.running),
      one("waiting", "waiting for a place", requests.waiting),
      one("limited", "over the limit", requests.limited),
      one("failed", "application failed", requests.failed),
      one("left", "given up by the client", requests.left),
      one("overdue", "overdue for the balancer", overdue),
      one("health-checks", "health checks", requests.health_checks),
      one("over-http1", "over HTTP/1.1", requests.over_http1),
      one("over-http2", "over HTTP/2", requests.over_http2),
    ]],
  ];
}

function connectionGroups(status) {
  const { connections, tls } = status;
  const { reuse } = connections;
  return [
    ["Connections", [
      one("http1", "HTTP/1.1", connections.http1),
      one("http2", "HTTP/2", connections.http2),
      one("streams", "streams", connections.streams),
      one("websockets", "WebSockets", connections.websockets),
      one("websockets-accepted", "WebSockets so far", status.websockets_accepted),
      one("handshaking", "in a handshake", connections.handshaking),
      one("glitches", "empty frames", status.glitches),
      one("resets", "streams reset", status.resets),
      ["bytes-in", "received", size(status.bytes.in), status.bytes.in],
      ["bytes-out", "sent", size(status.bytes.out), status.bytes.out],
    ]],
    ["TLS and network", [
      one("tls-handshakes", "handshakes", tls.handshakes),
      one("tls-resumed", "resumed", tls.resumed),
      ["tls-resumption", "resumption", percent(tls.resumption), tls.resumption],
      one("tls-failed", "failed", tls.failed),
      ["tls-expires", "certificate", certificate(status), tls.certificate_expires],
      ["tls-handshake", "a handshake takes", brief(reuse.tls_handshake), reuse.tls_handshake],
      ["rtt", "round trip", brief(reuse.rtt), reuse.rtt],
    ]],
  ];
}

function serverGroups(status) {
  const { settings } = status;
  const limit = settings.limit_concurrency;
  return [
    ["Workers replaced", [
      ...each("restarts", status.restarts, (key) => RESTARTS[key] ?? plain(key)),
      one("reloads", "reloads", status.reloads),
      one("reloads-failed", "reloads failed", status.reloads_failed),
      one("log-lines-lost", "log lines lost", status.log_lines_lost),
    ]],
    ["Settings", [
      ["setting-lb", "balancer", settings.lb ?? "none named", settings.lb],
      timeout("setting-lb-idle", "balancer's timeout", settings.lb_idle_timeout),
      timeout("setting-keep-alive", "our timeout", settings.keep_alive_timeout),
      timeout("setting-headers", "to a head's end", settings.headers_timeout),
      timeout("setting-drain", "to drain", settings.drain_timeout),
      one("setting-workers", "workers", settings.workers),
      ["setting-limit", "requests at once", limit ? whole(limit) : "no limit", limit],
      ["setting-http1", "HTTP/1.1 by", settings.http1, settings.http1],
      ["setting-http2", "HTTP/2 by", settings.http2, settings.http2],
    ]],
  ];
}

function drawDetails(status) {
  const groups = [...requestGroups(status), ...connectionGroups(status), ...serverGroups(status)];
  const box = at("details");
  const names = JSON.stringify(groups.map(([group, rows]) => [group, rows.map(([id]) => id)]));
  if (box.dataset.names !== names) {
    box.dataset.names = names;
    box.replaceChildren(...groups.map(([group, rows]) => make("section", {}, make("h3", {}, group), make("dl", {},
      ...rows.map(([id, name]) => make("div", {}, make("dt", {}, name), make("dd", { id })))))));
  }
  for (const [id, , text, value] of groups.flatMap(([, rows]) => rows)) {
    put(id, text, value ?? null);
    at(id).parentElement.classList.toggle("nothing", !value);
  }
}
