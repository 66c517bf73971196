// Asks for the status once a second while somebody looks, and says so when nobody answers.

const EVERY = 1000;
const PATIENCE = 5000;

const history = new History();
let timer = 0;
let asking = false;
let latest = null;
let failing = 0;

function render(status) {
  show(at("main"), true);
  drawHeader(status);
  drawDrain(status, history);
  drawWarnings(status);
  drawTiles(status, history);
  drawIdlePanel(status);
  drawWorkers(status, history);
  drawCloses(status);
  drawLatencyTable(status, history);
  drawLatency(status);
  drawCarried(status);
  drawTrace(history);
  drawDetails(status);
}

function contact(state, text) {
  put("contact", text, state);
}

function lost() {
  document.body.dataset.state = "unreachable";
  const since = latest ? ` The figures are those of ${clock(latest.now)}.` : "";
  const stopped = latest?.state === "draining" ? " It was stopping, and has most likely ended." : "";
  const silent = span((Date.now() - failing) / 1000);
  put("headline", `No answer from the server for ${silent}.${stopped}${since}`, "unreachable");
  put("advice", "");
  put("announce", "The server does not answer any more.");
  contact("unreachable", "asking again every second");
  document.title = "! keepserve: no answer";
}

async function fetchStatus() {
  const answer = await fetch("status", { cache: "no-store", headers: { accept: "application/json" },
    signal: AbortSignal.timeout(PATIENCE) });
  if (!answer.ok) throw new Error(`It answered ${answer.status}.`);
  return answer.json();
}

async function ask() {
  clearTimeout(timer);
  if (asking || document.hidden) return;
  asking = true;
  const began = Date.now();
  let status = null;
  try {
    status = await fetchStatus();
  } catch {
    failing ||= began;
    lost();
  }
  asking = false;
  if (!document.hidden) timer = setTimeout(ask, Math.max(100, EVERY - (Date.now() - began)));
  if (status === null) return;
  latest = status;
  failing = 0;
  history.add(status);
  render(status);
  if (document.hidden) pause();
  else contact("live", "live");
}

function pause() {
  clearTimeout(timer);
  contact("paused", "paused while out of view");
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) pause();
  else ask();
});

// Charts are as wide as they may be, so they are drawn anew when that changes.
new ResizeObserver(() => {
  if (!latest) return;
  render(latest);
  if (failing) lost();
}).observe(document.body);

ask();
