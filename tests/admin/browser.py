"""Chromium without a window, over its DevTools protocol: what a page shows, says to its console, and asks for."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.support.programs import end
from tests.support.tools import find_tool

PATIENCE = 30.0
"""Seconds; only a test that fails uses them up."""

_OPTIONS = (
    "--headless",
    # It runs as root in containers, and opens nothing but pages of these tests.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    # No requests but the page's own.
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)


class Tab:
    """One page in a context of its own."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self._session: str | None = None
        self.requested: list[str] = []
        """URLs the page asked for."""
        self.complaints: list[str] = []
        """Errors and warnings on its console, exceptions of its script, and what its policy forbade."""
        self._context = self.send("Target.createBrowserContext")["browserContextId"]
        target = self.send("Target.createTarget", url="about:blank", browserContextId=self._context)["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask something, and hear everything up to the answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._connection.send(json.dumps(message))
        while True:
            heard = json.loads(self._connection.recv(timeout=PATIENCE))
            if heard.get("id") == self._number and heard.get("sessionId") == self._session:
                assert "error" not in heard, f"{method}: {heard['error']}"
                return dict(heard["result"])
            self._hear(heard.get("method", ""), heard.get("params", {}))

    def _hear(self, method: str, said: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requested.append(said["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            detail = said["exceptionDetails"]
            self.complaints.append(str(detail.get("exception", {}).get("description") or detail["text"]))
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(said["args"]))
        elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")

    def resize(self, width: int, height: int) -> None:
        """Change the window."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def prefer(self, scheme: str) -> None:
        """Be a person who likes it ``dark`` or ``light``."""
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def first(self, script: str) -> None:
        """Run this before the scripts of every page."""
        self.send("Page.addScriptToEvaluateOnNewDocument", source=script)

    def go(self, url: str) -> None:
        """Open a page."""
        assert "errorText" not in self.send("Page.navigate", url=url)

    def read(self, expression: str) -> Any:
        """The value of a script."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until a script has a value that is true."""
        deadline = time.monotonic() + PATIENCE
        while not (value := self.read(expression)):
            assert time.monotonic() < deadline, f"in vain: {expression}; {self.complaints}\n{self.text()}"
            time.sleep(0.02)
        return value

    def text(self) -> str:
        """What is to be read on the page."""
        return str(self.read("document.body.innerText"))

    def value(self, identifier: str) -> Any:
        """The bare figure of an element; None where there is none to tell."""
        found = self.read(f"document.getElementById({json.dumps(identifier)}).dataset.value")
        return json.loads(found) if found else None

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Keep what it looks like; ``whole``: also what is below the window's edge."""
        taken = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(taken["data"]))

    def close(self) -> None:
        """Close it, and forget what it has stored."""
        self._session = None
        self.send("Target.disposeBrowserContext", browserContextId=self._context)


class Browser:
    """A running Chromium."""

    def __init__(self, address: str) -> None:
        self._address = address

    @contextlib.contextmanager
    def tab(self, width: int = 1280, height: int = 800, scheme: str = "light") -> Iterator[Tab]:
        """A new page of this size."""
        with connect(self._address, max_size=None, proxy=None) as connection:
            tab = Tab(connection)
            tab.resize(width, height)
            tab.prefer(scheme)
            yield tab
            tab.close()


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Start it; ``profile`` is a directory for what it wants to keep."""
    binary = find_tool("chromium", "chromium")
    profile.mkdir()
    with (profile / "log").open("wb") as log:
        process = subprocess.Popen(
            [binary, *_OPTIONS, f"--user-data-dir={profile}"],
            # Its crash reports go below HOME, whatever the profile is.
            env=os.environ | {"HOME": str(profile)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        told = profile / "DevToolsActivePort"
        deadline = time.monotonic() + PATIENCE
        while not (told.exists() and len(lines := told.read_text().split()) == 2):
            assert process.poll() is None, (profile / "log").read_text(errors="replace")
            assert time.monotonic() < deadline, "Chromium does not say where it listens"
            time.sleep(0.02)
        yield Browser(f"ws://127.0.0.1:{lines[0]}{lines[1]}")
    finally:
        end(process)
