"""Chromium over TLS: a page, and what its script asks for at once."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate

from tests.clients.app import ASKED
from tests.clients.conftest import Secure
from tests.support.tools import find_tool

_OPTIONS = (
    "--headless",
    # It runs as root in containers, and opens nothing but the page of this test.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    # Nothing but HTTP/2, and no requests but the page's own.
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def dump_dom(url: str, certificate: bytes, profile: Path) -> str:
    """The document at ``url`` when its script has finished. ``certificate`` is trusted, and no other."""
    binary = find_tool("chromium", "chromium")
    profile.mkdir()
    key = load_pem_x509_certificate(certificate).public_key()
    pin = base64.b64encode(hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest())
    done = subprocess.run(
        [
            binary,
            *_OPTIONS,
            f"--user-data-dir={profile}",
            f"--ignore-certificate-errors-spki-list={pin.decode()}",
            # Its clock goes faster while it waits for nothing but a timer; it stands while a request is under way.
            "--virtual-time-budget=10000",
            "--dump-dom",
            url,
        ],
        # Its crash reports go below HOME, whatever the profile is.
        env=os.environ | {"HOME": str(profile)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_page_and_the_requests_of_its_script_come_by_http_2(secure: Secure, tmp_path: Path) -> None:
    document = dump_dom(f"{secure.base}/page", secure.certificate, tmp_path / "profile")
    assert "<title>HTTP/2</title>" in document, document
    found = re.search(r'<pre id="outcome">(.+?)</pre>', document)
    assert found is not None, document
    outcome = json.loads(html.unescape(found.group(1)))
    assert outcome["failed"] == []
    assert (outcome["same"], outcome["different"]) == (ASKED, 0)
    assert outcome["refused"] == 3
    assert outcome["protocols"] == ["h2"]
    assert outcome["versions"] == ["2"] * ASKED
    assert len(set(outcome["connections"])) == 1


def test_the_demos_websocket_comes_by_http_2_as_well(secure: Secure, tmp_path: Path) -> None:
    """Chromium asks for it by extended CONNECT (RFC 8441) on the connection it already has."""
    document = dump_dom(f"{secure.base}/live-page", secure.certificate, tmp_path / "profile")
    live = re.search(r'<p id="live"[^>]*>(.*?)</p>', document)
    assert live is not None, document
    assert re.fullmatch(r"Open for [1-9] s to worker \d+, over HTTP/2\.", live[1]), live[1]
    echo = re.search(r'<p id="echo"[^>]*>(.*?)</p>', document)
    assert echo is not None, document
    assert re.fullmatch(r'"Anybody there\?" came back after \d+\.\d ms\.', echo[1]), echo[1]
