"""The page of the demonstration application: one document, light and dark, no request but its own."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any, Final


def render_page(found: Mapping[str, Any], paths: Mapping[str, str]) -> str:
    """The page as one document: no request but its own, and readable without its script.

    ``found`` is what `keepserve.demo.facts` returned; ``paths`` are listed with what they do.
    """
    connection = found["connection"] or {}
    values = {
        "pid": found["worker_pid"],
        "connection": connection.get("id", "?"),
        "requests": connection.get("requests", "?"),
        "age": connection.get("age_seconds", "?"),
        "avoided": connection.get("handshakes_avoided", "?"),
        "explanation": found["explanation"],
    }
    page = _PAGE
    for name, value in values.items():
        page = page.replace(f"[[{name}]]", html.escape(str(value)))
    rows = "".join(
        f"<tr><td><code>{html.escape(path)}</code></td><td>{html.escape(text)}</td></tr>"
        for path, text in paths.items()
    )
    return page.replace("[[rows]]", rows)


_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>keepserve: this connection</title>
<link rel="icon" href="data:,">
<style>
:root { --page: #f6f7f5; --card: #fff; --ink: #1c2420; --soft: #5c6a63; --line: #dfe4e0; --mark: #0b7a53;
  --on-mark: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --page: #121614; --card: #1b211e; --ink: #e8eeea; --soft: #9aa8a0; --line: #2d3631; --mark: #4fd1a1;
    --on-mark: #0c1511; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
main { max-width: 46rem; margin: 0 auto; padding: 3rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; letter-spacing: -.02em; margin: 0 0 .4rem; }
h2 { font-size: 1.05rem; margin: 2.5rem 0 .6rem; }
p { margin: 0 0 .8rem; max-width: 40rem; }
.soft { color: var(--soft); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.2rem, 1fr)); gap: .75rem;
  margin: 1.8rem 0 1.4rem; }
dl div { background: var(--card); border: 1px solid var(--line); border-radius: .7rem; padding: .8rem 1rem; }
dt { color: var(--soft); font-size: .82rem; }
dd { margin: .1rem 0 0; font-size: 1.55rem; font-weight: 650; font-variant-numeric: tabular-nums; }
dl .mark dd { color: var(--mark); }
button { font: inherit; font-weight: 600; color: var(--on-mark); background: var(--mark); border: 0; cursor: pointer;
  border-radius: .6rem; padding: .6rem 1.1rem; }
button:disabled { opacity: .55; cursor: progress; }
button:focus-visible { outline: 3px solid var(--ink); outline-offset: 2px; }
#dots { display: flex; flex-wrap: wrap; gap: .35rem; min-height: 1.6rem; margin: 1rem 0 .5rem; padding: 0; }
#dots li { list-style: none; min-width: 2.1rem; padding: .1rem .3rem; border-radius: .4rem; text-align: center;
  font-size: .8rem; font-variant-numeric: tabular-nums; background: var(--card); border: 1px solid var(--mark); }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
td { border-top: 1px solid var(--line); padding: .45rem .8rem .45rem 0; vertical-align: top; }
code, pre { font: .9em/1.5 ui-monospace, monospace; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .7rem; padding: .8rem 1rem; margin: 0;
  overflow-x: auto; }
</style>
</head>
<body>
<main>
<h1>This connection is still open.</h1>
<p class="soft">keepserve keeps it longer than the load balancer in front would, so that the next request finds
it ready instead of a reset.</p>
<dl aria-live="polite">
<div><dt>Worker pid</dt><dd id="pid">[[pid]]</dd></div>
<div><dt>Connection no.</dt><dd id="connection">[[connection]]</dd></div>
<div><dt>Requests on it</dt><dd id="requests">[[requests]]</dd></div>
<div><dt>Its age in seconds</dt><dd id="age">[[age]]</dd></div>
<div class="mark"><dt>Handshakes avoided</dt><dd id="avoided">[[avoided]]</dd></div>
</dl>
<button id="send" type="button">Send 20 requests</button>
<ol id="dots" aria-label="Requests sent: request number on its connection"></ol>
<p id="outcome" class="soft" role="status"></p>
<h2>What keeping it saved</h2>
<p id="explanation">[[explanation]]</p>
<p id="measured" class="soft"></p>
<h2>A WebSocket that comes back</h2>
<p id="live" role="status">Connecting.</p>
<button id="ask" type="button" disabled>Ask for an echo</button>
<p id="echo" class="soft" role="status"></p>
<h2>The same with curl</h2>
<pre id="curl">curl http://127.0.0.1:8000/json http://127.0.0.1:8000/json</pre>
<h2>What else is here</h2>
<table>[[rows]]</table>
</main>
<script>
"use strict";
const at = (id) => document.getElementById(id);
const here = new URL(".", location.href).href;
at("curl").textContent = `curl ${here}json ${here}json`;

function show(facts) {
  at("pid").textContent = facts.worker_pid;
  at("explanation").textContent = facts.explanation;
  if (!facts.connection) return;
  at("connection").textContent = facts.connection.id;
  at("requests").textContent = facts.connection.requests;
  at("age").textContent = facts.connection.age_seconds;
  at("avoided").textContent = facts.connection.handshakes_avoided;
}

// What the browser itself measured while it opened this page: a number of this network, not ours.
const page = performance.getEntriesByType("navigation")[0];
if (page) {
  const spent = page.connectEnd - page.connectStart;
  at("measured").textContent = spent > 0
    ? `Your browser spent ${spent.toFixed(1)} ms on connecting for this page. Each request on a kept connection ` +
      "is spared about that."
    : "Your browser loaded this page over a connection it already had, so it spent no time on connecting.";
}

// The WebSocket: a server that stops says so, and closes with 1012; whatever the reason, it is opened again, at once
// the first time and then less and less often, so that a server that comes back is not run over.
let wait = 0;
function connect() {
  const socket = new WebSocket(new URL("live", here.replace(/^http/, "ws")));
  let asked = 0;
  socket.onopen = () => {
    wait = 0;
    at("ask").disabled = false;
    at("ask").onclick = () => {
      asked = performance.now();
      socket.send("Anybody there?");
    };
  };
  socket.onmessage = (event) => {
    const said = JSON.parse(event.data);
    if (said.restarting) at("live").textContent = "The server is about to stop, and says so.";
    else if (said.echo !== undefined) {
      at("echo").textContent = `"${said.echo}" came back after ${(performance.now() - asked).toFixed(1)} ms.`;
    } else {
      at("live").textContent =
        `Open for ${said.ticks} s to worker ${said.worker_pid}, over HTTP/${said.http_version}.`;
    }
  };
  socket.onclose = (event) => {
    at("ask").disabled = true;
    at("live").textContent = `Closed with code ${event.code}; connecting again.`;
    setTimeout(connect, wait * (0.5 + Math.random()));
    wait = Math.min(5000, 2 * wait || 250);
  };
}
connect();

at("send").addEventListener("click", async () => {
  const seen = new Set();
  at("send").disabled = true;
  at("dots").replaceChildren();
  at("outcome").textContent = "";
  try {
    for (let sent = 0; sent < 20; sent++) {
      const facts = await (await fetch("json", { cache: "no-store" })).json();
      const dot = document.createElement("li");
      dot.textContent = facts.connection ? facts.connection.requests : "?";
      at("dots").append(dot);
      if (facts.connection) seen.add(`${facts.worker_pid}/${facts.connection.id}`);
      show(facts);
    }
    at("outcome").textContent = seen.size === 0 ? "20 requests; the server does not tell about connections."
      : `20 requests over ${seen.size} connection${seen.size === 1 ? "" : "s"}.`;
  } catch (error) {
    at("outcome").textContent = `A request failed: ${error.message}. Is the server still running?`;
  } finally {
    at("send").disabled = false;
  }
});
</script>
</body>
</html>
"""
