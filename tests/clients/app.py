"""The demo, and a page whose script asks for many things at once and writes down how it went."""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from keepserve.demo import app as demo

ASKED = 40
"""Requests of each kind the script sends at once."""

_SCRIPT = """
  const outcome = { same: 0, different: 0, refused: 0, failed: [], versions: [], connections: [], protocols: [] };
  const body = (number) => Uint8Array.from({ length: number * 1000 }, (_, at) => (at * 7 + number) % 251);

  async function echo(number) {
    const sent = body(number);
    const answer = await fetch("/echo", { method: "POST", body: sent });
    const back = new Uint8Array(await answer.arrayBuffer());
    const same = answer.ok && back.length === sent.length && back.every((byte, at) => byte === sent[at]);
    outcome[same ? "same" : "different"] += 1;
  }

  async function tell(number) {
    const facts = await (await fetch(`/json?${number}`)).json();
    outcome.versions.push(facts.http_version);
    outcome.connections.push(facts.connection.id);
  }

  // Answered before its megabyte is sent, and without the rest of it.
  async function refused(number) {
    const answer = await fetch(`/hello?${number}`, { method: "POST", body: new Uint8Array(1 << 20) });
    if (answer.status === 405 && (await answer.text()).includes("GET")) outcome.refused += 1;
  }

  const numbers = Array.from({ length: ASKED }, (_, at) => at + 1);
  const all = [...numbers.map(echo), ...numbers.map(tell), ...[1, 2, 3].map(refused)];
  Promise.allSettled(all).then((results) => {
    outcome.failed = results.filter((one) => one.status === "rejected").map((one) => String(one.reason));
    const seen = performance.getEntriesByType("resource").map((one) => one.nextHopProtocol);
    outcome.protocols = [...new Set(seen)];
    document.getElementById("outcome").textContent = JSON.stringify(outcome);
  });
"""


# The browser's clock stands while requests are under way, so that the WebSocket has time.
_LIVE_SCRIPT = b"""<script>
  (async () => {
    await fetch("slow?seconds=1.2");
    for (let tries = 0; tries < 50 && !document.getElementById("echo").textContent; tries++) {
      document.getElementById("ask").click();
      await fetch("slow?seconds=0.2");
    }
  })();
</script>
</body>"""


def _with_script(send: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    """Add a visitor to the demo's page: somebody who asks for an echo."""

    async def adding(message: Any) -> None:
        if message["type"] == "http.response.start":
            fields = [field for field in message["headers"] if field[0] != b"content-length"]
            message = {**message, "headers": fields}
        else:
            assert b"</body>" in message["body"]
            message = {**message, "body": message["body"].replace(b"</body>", _LIVE_SCRIPT)}
        await send(message)

    return adding


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[Any], Awaitable[None]],
) -> None:
    """``/page``, ``/live-page``, and everything of the demo."""
    if scope["type"] == "http" and scope["path"] == "/live-page":
        await demo({**scope, "path": "/"}, receive, _with_script(send))
        return
    if scope["type"] != "http" or scope["path"] != "/page":
        await demo(scope, receive, send)
        return
    version = html.escape(scope["http_version"])
    page = (
        f'<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><title>HTTP/{version}</title>'
        f'<pre id="outcome"></pre><script>{_SCRIPT.replace("ASKED", str(ASKED))}</script>'
    )
    fields = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % len(page.encode()))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": page.encode()})
