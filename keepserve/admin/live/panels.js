// From a status document to the parts of the page.

function drawHeader(status) {
  const { title, more = "", spoken } = headline(status);
  const troubled = status.state !== "serving" || status.warnings.length > 0;
  document.body.dataset.state = status.state !== "draining" && status.warnings.length ? "warning" : status.state;
  put("headline", title, status.state);
  put("advice", more);
  put("announce", spoken);
  put("version", status.version);
  const lb = status.settings.lb ? `behind ${status.settings.lb}` : "no balancer named";
  put("subline", `${status.listening.join(" and ")}, ${lb}, up for ${span(status.uptime)}.`, status.uptime);
  document.title = `${troubled ? "! " : ""}keepserve: ${status.state}`;
}

function drawTiles(status, history) {
  const { connections, requests, latency } = status;
  const { reuse } = connections;
  const rate = history.requestRate;
  put("requests-rate", decimal(rate), rate);
  put("requests-total", whole(requests.total), requests.total);
  put("reuse-ratio", percent(reuse.ratio), reuse.ratio);
  put("requests-per-connection", decimal(reuse.requests_per_connection), reuse.requests_per_connection);
  put("accepted", whole(connections.accepted), connections.accepted);
  put("time-saved", brief(reuse.time_saved), reuse.time_saved);
  put("handshakes-avoided", short(reuse.handshakes_avoided), reuse.handshakes_avoided);
  put("handshakes-word", reuse.handshakes_avoided === 1 ? "fewer handshake" : "fewer handshakes");
  put("open", whole(connections.open), connections.open);
  put("active", whole(connections.active), connections.active);
  put("idle", whole(connections.idle), connections.idle);
  const recent = history.recentLatency;
  const lately = sum(recent) > 0;
  const p99 = lately ? quantile(latency.bounds, recent, 0.99) : latency.p99;
  put("tile-p99", brief(p99), p99);
  put("tile-p99-note", lately ? "in the last minute" : "since the start");
}

function drawLatencyTable(status, history) {
  const { bounds, counts, p50, p90, p99 } = status.latency;
  const recent = history.recentLatency;
  for (const [id, part, value] of [["p50", 0.5, p50], ["p90", 0.9, p90], ["p99", 0.99, p99]]) {
    put(id, brief(value), value);
    const lately = quantile(bounds, recent, part);
    put(`recent-${id}`, brief(lately), lately);
  }
  put("latency-title", "How long answers take", sum(counts));
}

function drawWarnings(status) {
  // The first is the headline already. A stop has its own part of the page, and no need of a warning.
  const shown = status.state === "draining"
    ? status.warnings.filter((warning) => !warning.startsWith("The server is stopping")) : status.warnings.slice(1);
  at("warnings").dataset.value = String(status.warnings.length);
  show(at("warnings"), shown.length > 0);
  const list = at("warning-list");
  if (list.dataset.said === JSON.stringify(shown)) return;
  list.dataset.said = JSON.stringify(shown);
  list.replaceChildren(...shown.map((warning) => make("li", {}, warning)));
}

function drawDrain(status, history) {
  const stopping = status.state === "draining";
  show(at("drain"), stopping);
  if (!stopping) return;
  const left = status.connections.open;
  const most = Math.max(left, history.mostLeft);
  const current = ORDER.indexOf(phaseOf(status));
  // Four steps for a person; those after the time limit are one matter.
  const steps = [["lame_duck", 1], ["closing", 2], ["cancel", 3], ["over", 7]];
  const place = steps.findLastIndex(([, number]) => current >= number);
  at("drain-phases").replaceChildren(...steps.map(([phase], number) => {
    const item = make("li", { class: number < place ? "past" : number === place ? "now" : "to-come" },
      make("strong", {}, PHASES[phase][0]), make("span", {}, PHASES[phase][1]));
    if (number === place) item.setAttribute("aria-current", "step");
    return item;
  }));
  at("drain").dataset.value = phaseOf(status);
  const running = many(status.requests.running, "request", "requests");
  put("drain-left", `${many(left, "connection", "connections")} left, ${running} under way`, left);
  const time = status.drain ? `after ${span(status.drain.elapsed)} of at most ${span(status.drain.limit)}` : "";
  put("drain-time", time, status.drain ? status.drain.elapsed : null);
  strip(at("drain-bar"), [[left, "peer"]], most, `${left} of ${most} connections are left.`);
  at("drain-workers").replaceChildren(...status.workers.map((worker) => make("li", {},
    `Worker ${worker.seat + 1}: ${phaseName(worker)}, `,
    make("span", { id: `drain-worker-${worker.seat}`, "data-value": worker.connections }, whole(worker.connections)),
    " left")));
}

function phaseName(worker) {
  return (PHASES[worker.phase] ?? [plain(worker.phase)])[0].toLowerCase();
}

// What is to be known of a worker beside its figures; most of the time nothing.
function remarks(worker) {
  const said = [];
  if (worker.stage === "starting") said.push("starting");
  if (worker.replaced) said.push("replaced");
  if (worker.stage === "leaving") said.push(`leaving: ${phaseName(worker)}`);
  if (worker.full) said.push("full");
  if (worker.beat_age > SILENT) said.push(`silent for ${span(worker.beat_age)}`);
  return said.join(", ");
}

const SILENT = 3;

function workerRow(worker) {
  const own = (name) => `worker-${worker.seat}-${name}`;
  return make("tr", { id: `worker-${worker.seat}`, "data-value": worker.pid },
    make("th", { scope: "row" }, make("span", { class: "who" }, `${worker.seat + 1}`),
      make("span", { id: own("remark"), class: "remark" }), make("span", { class: "more" },
        make("span", { id: own("pid") }), make("span", { id: own("more"), class: "rest" }))),
    make("td", { class: "wide" }, make("span", { class: "beside" }, make("span", { id: own("connections") }), ", ",
      make("span", { id: own("active") })), shape("svg", { id: own("bar"), class: "bar", role: "img" })),
    make("td", { id: own("rate"), class: "number" }), make("td", { id: own("per-connection"), class: "number" }));
}

function drawWorkers(status, history) {
  const { workers } = status;
  const rows = at("worker-rows");
  const who = workers.map((worker) => `${worker.seat} ${worker.pid}`).join();
  if (rows.dataset.who !== who) {
    rows.dataset.who = who;
    rows.replaceChildren(...workers.map(workerRow));
  }
  at("workers-panel").classList.toggle("many", workers.length > 5);
  const spread = status.connections.per_worker_spread;
  const differ = spread ? `, differ by ${many(spread, "connection", "connections")}` : "";
  put("workers-spread", `${workers.length}${differ}`, spread);
  const most = Math.max(...workers.map((worker) => worker.connections));
  for (const worker of workers) {
    const own = (name) => `worker-${worker.seat}-${name}`;
    const active = Math.min(worker.active, worker.connections);
    const rate = history.workerRate(worker.pid);
    const per = worker.accepted ? worker.requests / worker.accepted : null;
    put(own("connections"), whole(worker.connections), worker.connections);
    put(own("active"), `${whole(worker.active)} active`, worker.active);
    strip(at(own("bar")), [[active, "peer"], [worker.connections - active, "rest"]], most,
      `${worker.connections} connections, ${worker.active} of them active`);
    put(own("rate"), decimal(rate), rate);
    put(own("per-connection"), decimal(per), per);
    put(own("remark"), remarks(worker), worker.stage);
    at(own("remark")).classList.toggle("alarm", worker.full || worker.beat_age > SILENT);
    const waiting = worker.waiting ? `, ${whole(worker.waiting)} waiting` : "";
    put(own("pid"), worker.pid === null ? "no process yet" : `pid ${worker.pid}`, worker.pid);
    put(own("more"), `, ${size(worker.memory)}, lag ${roughly(worker.lag_max)}${waiting}`, worker.memory);
    at(own("more")).title = `${whole(worker.http1)} over HTTP/1.1, ${whole(worker.http2)} over HTTP/2 with `
      + `${whole(worker.streams)} streams, ${whole(worker.websockets)} WebSockets, ${whole(worker.running)} requests `
      + `running; the loop is ${brief(worker.lag)} late now, ${brief(worker.lag_max)} at most`;
  }
}

function drawCloses(status) {
  const all = Object.entries(status.connections.closed);
  const closed = all.filter(([, count]) => count > 0).sort((a, b) => b[1] - a[1]);
  const total = sum(closed.map(([, count]) => count));
  put("closed-total", whole(total), total);
  show(at("closes-none"), total === 0);
  const rows = at("close-rows");
  const order = closed.map(([reason]) => reason).join();
  if (rows.dataset.order !== order) {
    rows.dataset.order = order;
    rows.replaceChildren(...closed.map(([reason]) => make("tr", { class: ALARMS.has(reason) ? "alarm" : "ordinary" },
      make("th", { scope: "row", title: reason }, REASONS[reason] ?? plain(reason)),
      make("td", { class: "number", id: `closed-${reason}` }))));
    for (const [reason] of closed) {
      const bar = shape("svg", { id: `closed-${reason}-bar`, class: "bar", "aria-hidden": "true" });
      at(`closed-${reason}`).previousSibling.append(bar);
    }
  }
  for (const [reason, count] of closed) {
    put(`closed-${reason}`, whole(count), count);
    const kind = ALARMS.has(reason) ? "alarm" : "peer";
    strip(at(`closed-${reason}-bar`), [[count, kind]], closed[0][1], `${count} connections`);
  }
}

function drawIdlePanel(status) {
  const { by_peer: byPeer, by_us: byUs } = status.idle;
  const [peers, ours] = [sum(byPeer), sum(byUs)];
  put("idle-by-peer", whole(peers), peers);
  put("idle-by-us", whole(ours), ours);
  const seen = inferredTimeouts(status);
  show(at("inferred-key"), seen.length > 0);
  const each = seen.map((found) => `${timeoutLike(found.seconds)} ${found.over}`.trim()).join(", ");
  put("inferred-text", each && `observed timeout ${each}`, seen.length ? seen[0].seconds : null);
  put("idle-verdict", verdict(status, peers, ours));
  at("idle-panel").classList.toggle("alarm", tooEarly(status));
  drawIdle(status);
}

function verdict(status, peers, ours) {
  const { keep_alive_timeout: keep, lb_idle_timeout: balancer } = status.settings;
  if (tooEarly(status)) return "The balancer keeps idle connections for as long as keepserve does, or longer.";
  if (ours) {
    const were = many(ours, "connection was", "connections were");
    const told = `${were} closed by keepserve after ${bound(keep)} of idleness.`;
    return balancer ? `${told} Behind a balancer there should be none.` : `${told} There is no balancer to outlast.`;
  }
  const gap = balancer ? ` keepserve waits ${bound(keep - balancer)} longer than the balancer.` : "";
  return `${peers ? "The other side always closed first." : "No idle connection has been closed yet."}${gap}`;
}
