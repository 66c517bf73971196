// Plain names for what the server's words mean, and figures as people write them.

const REASONS = {
  peer_closed: "The other side closed it, while idle",
  peer_left: "The other side left in mid-request",
  peer_reset: "It broke (reset or timed out)",
  client_asked: "The client asked for it",
  idle_timeout: "Idle too long: we closed first",
  websocket_closed: "A WebSocket was closed",
  max_requests: "It had carried enough requests",
  max_age: "It was old enough",
  tls_failed: "The TLS handshake failed",
  tls_timeout: "The TLS handshake took too long",
  proxy_header: "The PROXY header was wrong",
  head_timeout: "A request's head took too long",
  body_timeout: "A request's body stalled",
  write_stall: "The client stopped reading",
  bad_request: "A request was malformed or too large",
  unread_body: "A long body was left unread",
  protocol_error: "A rule of the protocol was broken",
  flood: "A flood was stopped",
  settings_timeout: "HTTP/2 settings were not confirmed",
  ping_timeout: "A PING was not answered",
  app_asked: "The application asked for it",
  app_failed: "The application failed",
  app_framing: "The application's length was wrong",
  length_unknown: "Only the close can end the body",
  evicted: "Its room was needed",
  draining: "The server or worker is stopping",
  cut: "Cut off: the drain's time was over",
  worker_died: "Its worker was killed or crashed",
};

// Closes that somebody should look into; all others are ordinary life.
const ALARMS = new Set(["idle_timeout", "app_failed", "app_framing", "flood", "evicted", "cut", "worker_died"]);

// The phases of a stop, in their order.
const PHASES = {
  serving: ["Serving", "as ever"],
  lame_duck: ["Announcing", "still serving; health checks say 503"],
  closing: ["Closing", "nothing new; requests under way finish"],
  limit: ["Time limit", "applications are told to end"],
  cancel: ["Cancelling", "applications are cancelled"],
  cut: ["Cutting off", "what is left is broken off"],
  drop: ["Dropping", "what could not be closed"],
  over: ["Done", "nothing is left"],
};

const RESTARTS = {
  crashed: "crashed",
  killed: "killed",
  out_of_memory: "out of memory",
  hung: "hung",
  max_requests: "after enough requests",
  max_age: "for age",
  max_memory: "for memory",
  left: "told to go",
  reload: "reload",
};

const NONE = "–";
const THIN = "\u202f";

function plain(word) {
  return word.replaceAll("_", " ");
}

function many(count, one, more) {
  return `${whole(count)} ${count === 1 ? one : more}`;
}

function known(value) {
  return typeof value === "number" && Number.isFinite(value);
}

// 48 210; 1.25 M from ten million on.
function whole(value) {
  if (!known(value)) return NONE;
  if (value >= 1e9) return `${(value / 1e9).toFixed(2)} G`;
  if (value >= 1e7) return `${(value / 1e6).toFixed(2)} M`;
  return Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, THIN);
}

// Where there is little room: 48.2 k, 1.19 M.
function short(value) {
  if (!known(value) || value < 10000) return whole(value);
  const [power, unit] = value >= 1e9 ? [1e9, "G"] : value >= 1e6 ? [1e6, "M"] : [1e3, "k"];
  return `${+(value / power).toPrecision(3)} ${unit}`;
}

// Three figures at least, and never more places than mean something.
function decimal(value) {
  if (!known(value)) return NONE;
  if (value >= 100 || value === 0) return whole(value);
  return value >= 10 ? value.toFixed(1) : value.toFixed(value >= 1 ? 1 : 2);
}

// 100 % is said only of all, and 0 % only of none: 99.97 stays 99.9.
function percent(ratio) {
  if (!known(ratio)) return NONE;
  const hundred = ratio * 100;
  if (hundred >= 100 || hundred <= 0) return `${hundred.toFixed(0)} %`;
  return `${Math.min(99.9, Math.max(0.1, hundred)).toFixed(1)} %`;
}

// A short time: 0.42 ms, 12.5 ms, 1.20 s.
function brief(seconds) {
  if (!known(seconds)) return NONE;
  if (seconds >= 60 || seconds === 0) return span(seconds);
  if (seconds >= 1) return `${seconds.toFixed(seconds >= 10 ? 1 : 2)} s`;
  const thousandths = seconds * 1000;
  return `${thousandths.toFixed(thousandths >= 100 ? 0 : thousandths >= 10 ? 1 : 2)} ms`;
}

// A time that is known by two figures at most: 4.1 ms.
function roughly(seconds) {
  return known(seconds) && seconds > 0 && seconds < 1 ? `${+(seconds * 1000).toPrecision(2)} ms` : brief(seconds);
}

// A long time: 42 s, 3 min 12 s, 5 h 7 min, 3 d 4 h.
function span(seconds) {
  if (!known(seconds)) return NONE;
  if (seconds < 10 && seconds > 0) return `${+seconds.toFixed(1)} s`;
  const units = unitsOf(Math.round(seconds));
  const first = units.findIndex(([count]) => count > 0);
  return first < 0 ? "0 s" : together(units.slice(first, first + 2));
}

function unitsOf(seconds) {
  return [[Math.floor(seconds / 86400), "d"], [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"], [seconds % 60, "s"]];
}

function together(units) {
  return units.filter(([count]) => count > 0).map(([count, unit]) => `${count} ${unit}`).join(" ");
}

// A bound of a scale or a timeout, as somebody would set it: 7.5 s, 90 s, 351 s, 30 min.
function bound(seconds) {
  if (seconds < 1) return `${+(seconds * 1000).toFixed(2)} ms`;
  if (seconds >= 600) return together(unitsOf(Math.round(seconds)));
  return `${+seconds.toFixed(1)} s`;
}

// What was measured as 59.9 s was set as 60 s: the nearest round number, if it is at most 2 % away.
function roundTimeout(seconds) {
  for (const step of [3600, 600, 300, 100, 60, 50, 30, 10, 5, 1, 0.5]) {
    const round = Math.round(seconds / step) * step;
    if (round && Math.abs(round - seconds) <= 0.02 * seconds) return round;
  }
  return seconds;
}

function timeoutLike(seconds) {
  return bound(roundTimeout(seconds));
}

function size(bytes) {
  if (!known(bytes)) return NONE;
  const units = ["B", "KB", "MB", "GB", "TB", "PB"];
  let power = 0;
  while (bytes >= 1000 && power < units.length - 1) {
    bytes /= 1000;
    power += 1;
  }
  return `${power === 0 ? bytes : bytes.toFixed(bytes >= 100 ? 0 : 1)} ${units[power]}`;
}

function clock(epoch) {
  return new Date(epoch * 1000).toLocaleTimeString([], { hour12: false });
}
