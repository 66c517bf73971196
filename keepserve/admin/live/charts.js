// The charts. Each says its figures in words as well, for whoever cannot see it.

// Buckets as columns of equal width, with the upper bounds between them.
class Scale {
  constructor(bounds, shown, left, width) {
    this.bounds = bounds;
    this.left = left;
    this.step = width / shown;
  }

  // Where a bucket begins.
  column(number) {
    return this.left + number * this.step;
  }

  // Where a value lies: within its bucket in proportion.
  place(value) {
    const bounds = this.bounds;
    const number = bounds.findIndex((upper) => value <= upper);
    if (number < 0) return this.column(bounds.length) + this.step / 2;
    const low = number ? bounds[number - 1] : 0;
    return this.column(number) + this.step * ((value - low) / (bounds[number] - low));
  }
}

// About how wide a text is in the widest of the fonts it may be shown in.
function wide(text) {
  return text.length * 7.2;
}

function bucketName(bounds, number, name) {
  if (number === bounds.length) return `over ${name(bounds.at(-1))}`;
  return number ? `${name(bounds[number - 1])} to ${name(bounds[number])}` : `up to ${name(bounds[0])}`;
}

function figuresOf(bounds, counts, name) {
  const said = counts.map((count, number) => (count ? `${bucketName(bounds, number, name)}: ${whole(count)}` : ""));
  return said.filter(Boolean).join("; ");
}

// Names under the edges of columns, as many as have room.
function edgeNames(scale, first, last, name, y, width) {
  const names = [];
  let free = -Infinity;
  for (let number = first; number < last; number++) {
    const text = name(scale.bounds[number]);
    const x = scale.column(number + 1);
    const half = wide(text) / 2;
    const middle = Math.min(x, width - half);
    if (middle - half < free) continue;
    free = middle + half + 8;
    names.push(shape("line", { x1: x, x2: x, y1: y - 14, y2: y - 11, class: "axis" }));
    names.push(shape("text", { x: middle, y, "text-anchor": "middle", class: "tick" }, text));
  }
  return names;
}

// Names beside lines: on the side that is wanted if there is room, else on the other, else lower.
class Names {
  constructor(width) {
    this.width = width;
    this.taken = [];
    this.shapes = [];
  }

  add(x, text, kind, side, rows) {
    const long = wide(text);
    const places = rows.flatMap((y) => [side, side === "end" ? "start" : "end"].map((anchor) => {
      const from = anchor === "end" ? x - 7 - long : x + 7;
      return { y, anchor, from, to: from + long };
    }));
    const free = (place) => place.from >= 0 && place.to <= this.width
      && this.taken.every((other) => other.y !== place.y || other.to < place.from || other.from > place.to);
    const place = places.find(free) ?? places[0];
    this.taken.push(place);
    const begin = place.anchor === "end" ? x - 7 : x + 7;
    const { anchor, y } = place;
    this.shapes.push(shape("text", { x: begin, y, "text-anchor": anchor, class: `name ${kind}` }, text));
  }
}

function column(scale, number, count, from, most, base, room, kind) {
  const tall = (share) => (share / most) * room;
  const bottom = base - tall(from);
  const height = Math.max(2, tall(count));
  return shape("rect", { x: scale.column(number) + 1, width: Math.max(1, scale.step - 2), y: bottom - height, height,
    class: kind, "data-bucket": number, "data-value": count });
}

function grid(width, left, base, top, most) {
  return [
    shape("line", { x1: left, x2: width, y1: top, y2: top, class: "thin" }),
    shape("line", { x1: left, x2: width, y1: (base + top) / 2, y2: (base + top) / 2, class: "thin" }),
    shape("line", { x1: left, x2: width, y1: base, y2: base, class: "axis" }),
    shape("text", { x: left - 6, y: top + 4, "text-anchor": "end", class: "tick" }, short(most)),
    shape("text", { x: left - 6, y: base, "text-anchor": "end", class: "tick" }, "0"),
  ];
}

// How much of the scale of idle times is worth showing: past our timeout, and all that has come.
function idleColumns(status) {
  const { bounds, by_peer: byPeer, by_us: byUs } = status.idle;
  const ours = status.settings.keep_alive_timeout;
  const lines = [ours, status.settings.lb_idle_timeout, ...inferredTimeouts(status).map((found) => found.seconds)];
  const wanted = bounds.findIndex((upper) => upper >= Math.max(...lines.filter(known)) * 1.5);
  // Some room beyond our line, also where bounds are far apart.
  const own = bounds.findIndex((upper) => ours <= upper);
  let last = wanted < 0 ? bounds.length : Math.min(bounds.length, Math.max(wanted, own + 4));
  for (let number = last + 1; number <= bounds.length; number++) if (byPeer[number] || byUs[number]) last = number;
  return last + 1;
}

function observed({ seconds, over }) {
  return `Observed${over && ` ${over}`}: ${timeoutLike(seconds)}`;
}

function idleLabel(status, balancer) {
  const { bounds, by_peer: byPeer, by_us: byUs } = status.idle;
  const lines = [balancer ? `The balancer's timeout is ${bound(balancer)}` : "No balancer is named",
    `ours is ${bound(status.settings.keep_alive_timeout)}.`].join(", ");
  const seen = inferredTimeouts(status).map((found) => ` ${observed(found)}.`);
  return `Idle connections by seconds idle when closed. ${lines}${seen.join("")} `
    + `Closed by the balancer or client: ${figuresOf(bounds, byPeer, bound) || "none"}. `
    + `Closed by keepserve: ${figuresOf(bounds, byUs, bound) || "none"}.`;
}

function drawIdle(status) {
  const { bounds, by_peer: byPeer, by_us: byUs } = status.idle;
  const ours = status.settings.keep_alive_timeout;
  const balancer = status.settings.lb_idle_timeout || null;
  const seen = inferredTimeouts(status);
  const what = [bounds, byPeer, byUs, ours, balancer, seen, status.settings.lb];
  redraw(at("idle-chart"), what, idleLabel(status, balancer), (width, height) => {
    const [left, top, base] = [40, 42, height - 20];
    const shown = idleColumns(status);
    const own = `${width < 420 ? "ours" : "keepserve"} ${bound(ours)}`;
    // The name of our line stands at its right: so much of the width is not the scale's.
    const part = new Scale(bounds, shown, 0, 1).place(ours);
    const scale = new Scale(bounds, shown, left, Math.min(width - left - 4, (width - left - 8 - wide(own)) / part));
    const most = roundUp(Math.max(...byPeer.map((count, number) => count + byUs[number])));
    const shapes = [hatch("hatch")];
    if (balancer && balancer < ours) {
      const [from, to] = [scale.place(balancer), scale.place(ours)];
      shapes.push(titled(shape("rect", { x: from, width: to - from, y: top, height: base - top, class: "margin" }),
        `The margin: ${bound(ours - balancer)} in which the balancer has closed and keepserve has not`));
    }
    shapes.push(...grid(width, left, base, top, most));
    for (let number = 0; number < shown; number++) {
      const [peer, our, bars] = [byPeer[number], byUs[number], []];
      if (peer) bars.push(column(scale, number, peer, 0, most, base, base - top, "peer"));
      if (our) bars.push(column(scale, number, our, peer, most, base, base - top, "ours"));
      if (bars.length) {
        shapes.push(titled(shape("g", {}, ...bars), `Idle for ${bucketName(bounds, number, bound)}: `
          + `${whole(peer)} closed by the balancer or client, ${whole(our)} by keepserve`));
      }
    }
    shapes.push(...edgeNames(scale, 0, Math.min(shown, bounds.length), bound, height - 4, width));
    const names = new Names(width);
    const line = (id, seconds, kind, text, side) => {
      const x = scale.place(seconds);
      shapes.push(shape("line", { id, x1: x, x2: x, y1: 4, y2: base, class: kind, "data-value": seconds }));
      names.add(x, text, kind, side, [13, 30]);
    };
    if (balancer) line("line-balancer", balancer, "balancer", `balancer ${bound(balancer)}`, "end");
    line("line-ours", ours, "keeper", own, "start");
    seen.forEach((found, number) => {
      const x = scale.place(found.seconds);
      const y = top - 12;
      const mark = shape("path", { id: `inferred-${number + 1}`, d: `M${x - 5} ${y - 4}h10l-5 8z`, class: "seen",
        "data-value": found.seconds });
      shapes.push(titled(mark, observed(found)));
      if (balancer && Math.abs(found.seconds - balancer) <= 0.02 * balancer) return;
      shapes.push(shape("line", { x1: x, x2: x, y1: y + 4, y2: base, class: "observed" }));
      names.add(x, `observed ${timeoutLike(found.seconds)}`, "seen", "start", [30]);
    });
    shapes.push(...names.shapes);
    return shapes;
  });
}

// Columns without more: latency, and requests per connection.
function drawColumns(id, { bounds, counts, name, label, nothing, marks = [] }) {
  const said = `${label} ${figuresOf(bounds, counts, name) || "none yet"}.`;
  redraw(at(id), [bounds, counts, marks], said, (width, height) => {
    const used = counts.flatMap((count, number) => (count ? [number] : []));
    if (!used.length) return [shape("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, nothing)];
    const first = Math.max(0, used[0] - 1);
    const last = Math.min(counts.length, Math.max(used.at(-1) + 2, first + 6));
    const [left, top, base] = [40, marks.length ? 20 : 8, height - 20];
    const step = (width - left - 4) / (last - first);
    const scale = new Scale(bounds, last - first, left - first * step, width - left - 4);
    const most = roundUp(Math.max(...counts));
    const shapes = grid(width, left, base, top, most);
    for (const number of used) {
      const bar = column(scale, number, counts[number], 0, most, base, base - top, "peer");
      shapes.push(titled(bar, `${bucketName(bounds, number, name)}: ${whole(counts[number])}`));
    }
    shapes.push(...edgeNames(scale, first, Math.min(last, bounds.length), name, height - 4, width));
    let free = -Infinity;
    for (const [text, value] of marks) {
      const x = scale.place(value);
      shapes.push(shape("line", { x1: x, x2: x, y1: top - 6, y2: base, class: "quantile", "data-value": value }));
      if (x - 12 < free) continue;
      free = x + 18;
      shapes.push(shape("text", { x, y: 11, "text-anchor": "middle", class: "tick" }, text));
    }
    return shapes;
  });
}

function drawLatency(status) {
  const { bounds, counts, p50, p90, p99 } = status.latency;
  const marks = [["p50", p50], ["p90", p90], ["p99", p99]].filter(([, value]) => known(value));
  drawColumns("latency-chart", { bounds, counts, name: bound, marks, nothing: "No request yet.",
    label: "Requests by duration since the start:" });
}

function drawCarried(status) {
  const { bounds, counts } = status.connections.reuse;
  const name = (count) => (count >= 1000 ? `${count / 1000} k` : String(count));
  drawColumns("carried-chart", { bounds, counts, name, nothing: "No connection has closed yet.",
    label: "Closed connections by requests carried:" });
}

// The requests per second of the last minute, newest at the right.
function drawTrace(history) {
  const rates = history.trace;
  const most = Math.max(1, ...rates);
  const label = rates.length ? `Requests per second in the last minute: at most ${decimal(most)}.` : "Not known yet.";
  redraw(at("rate-trace"), rates, label, (width, height) => {
    const step = width / Math.max(29, rates.length - 1);
    const points = rates.map((rate, number) => [width - (rates.length - 1 - number) * step,
      height - 2 - (rate / most) * (height - 4)].map((place) => place.toFixed(1)));
    const line = points.map((point) => point.join(" ")).join("L");
    if (points.length < 5) return [];
    return [shape("path", { d: `M${points[0][0]} ${height}L${line}L${width} ${height}z`, class: "area" }),
      shape("path", { d: `M${line}`, class: "trace" })];
  });
}
