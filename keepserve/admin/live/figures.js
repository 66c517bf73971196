// What follows from the figures, without drawing anything: rates, quantiles, the sentence at the top.

const REMEMBERED = 60;
const RATE_OVER = 3;

function sum(counts) {
  return counts.reduce((total, count) => total + count, 0);
}

// The documents of the last minute, as far as differences need them.
class History {
  constructor() {
    this.samples = [];
    this.server = null;
    this.mostLeft = 0;
  }

  add(status) {
    const server = `${status.pid} ${status.began}`;
    const last = this.samples.at(-1);
    // Another server, or a long time nobody looked: what was before has nothing to do with it.
    if (server !== this.server || (last && (status.now - last.now > 10 || status.requests.total < last.requests))) {
      this.samples = [];
      this.mostLeft = 0;
    }
    this.server = server;
    if (last && status.now <= last.now && this.samples.length) this.samples.pop();
    this.samples.push({
      now: status.now,
      requests: status.requests.total,
      latency: status.latency.counts,
      workers: new Map(status.workers.map((worker) => [worker.pid, worker.requests])),
    });
    while (this.samples.length > REMEMBERED + 1) this.samples.shift();
    this.mostLeft = status.state === "draining" ? Math.max(this.mostLeft, status.connections.open) : 0;
  }

  // The sample to compare the last with: some seconds old, so that figures do not jump.
  get base() {
    const now = this.samples.at(-1).now;
    return this.samples.find((sample) => now - sample.now <= RATE_OVER + 0.5);
  }

  rate(pick) {
    const last = this.samples.at(-1);
    const base = this.base;
    const before = pick(base);
    const after = pick(last);
    if (last.now <= base.now || before === undefined || after === undefined) return null;
    return Math.max(0, after - before) / (last.now - base.now);
  }

  get requestRate() {
    return this.rate((sample) => sample.requests);
  }

  workerRate(pid) {
    return this.rate((sample) => sample.workers.get(pid));
  }

  // Requests per second between each two polls, oldest first.
  get trace() {
    return this.samples.slice(1).map((sample, number) => {
      const before = this.samples[number];
      return Math.max(0, sample.requests - before.requests) / Math.max(0.001, sample.now - before.now);
    });
  }

  // Buckets of the requests of the last minute.
  get recentLatency() {
    const last = this.samples.at(-1).latency;
    const first = this.samples[0].latency;
    return last.map((count, number) => Math.max(0, count - first[number]));
  }
}

// Within its bucket a quantile is where it would be if the bucket's were spread evenly; null without any.
function quantile(bounds, counts, part) {
  const total = sum(counts);
  if (!total) return null;
  let rank = part * total;
  for (let number = 0; number < bounds.length; number++) {
    if (rank <= counts[number] && counts[number]) {
      const low = number ? bounds[number - 1] : 0;
      return low + (bounds[number] - low) * (rank / counts[number]);
    }
    rank -= counts[number];
  }
  return bounds.at(-1);
}

const ORDER = Object.keys(PHASES);

// How far the stop has come: as far as the worker that is furthest behind.
function phaseOf(status) {
  const numbers = status.workers.map((worker) => ORDER.indexOf(worker.phase)).filter((number) => number > 0);
  return ORDER[numbers.length ? Math.min(...numbers) : 1];
}

// What the balancer's timeout looks like: once, unless it differs by protocol.
function inferredTimeouts(status) {
  const { http1, http2 } = status.idle.inferred;
  if (known(http1) && known(http2) && Math.abs(http1 - http2) > 0.02 * http1) {
    return [{ seconds: http1, over: "(HTTP/1.1)" }, { seconds: http2, over: "(HTTP/2)" }];
  }
  const one = known(http1) ? http1 : http2;
  return known(one) ? [{ seconds: one, over: "" }] : [];
}

// Whether what was seen contradicts what was set. Without a balancer there is nobody to outlast.
function tooEarly(status) {
  const { keep_alive_timeout: ours, lb_idle_timeout: balancer } = status.settings;
  return balancer > 0 && inferredTimeouts(status).some((one) => roundTimeout(one.seconds) >= ours);
}

// A warning's first sentence, and what it goes on with.
function firstSentence(text) {
  const end = text.search(/\. [A-Z]/);
  return end < 0 ? [text, ""] : [text.slice(0, end + 1), text.slice(end + 2)];
}

// The sentence at the top, what follows from it in small, and what is spoken: that has no figures in it that change.
function headline(status) {
  const { state, warnings, settings, workers } = status;
  if (state === "draining") {
    const { open } = status.connections;
    const [name, what] = PHASES[phaseOf(status)];
    const left = open ? `${many(open, "connection", "connections")} left` : "no connection is left";
    return { title: `Stopping: ${left}.`, spoken: `Stopping. ${name}: ${what}.` };
  }
  if (warnings.length) {
    const [title, more] = firstSentence(warnings[0]);
    return { title, more, spoken: `Warning: ${title.replace(/\d[\d.]*/g, "some")}` };
  }
  if (state === "starting") {
    const ready = workers.filter((worker) => worker.stage === "serving").length;
    const all = many(settings.workers, "worker", "workers");
    return { title: `Starting: ${ready} of ${all} ready.`, spoken: "Starting." };
  }
  const { ratio } = status.connections.reuse;
  const idle = "Serving. No request has come yet.";
  if (!known(ratio)) return { title: idle, spoken: idle };
  const byUs = sum(status.idle.by_us);
  const ours = byUs ? `keepserve closed ${many(byUs, "idle connection", "idle connections")} itself`
    : "nobody closes too early";
  return { title: `Serving. ${percent(ratio)} of requests needed no new connection; ${ours}.`,
    spoken: byUs ? "Serving. keepserve closed idle connections itself." : "Serving. Nobody closes too early." };
}
