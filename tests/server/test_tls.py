"""The TLS context: what it offers, and the sentence for each way its settings can be wrong."""

from __future__ import annotations

import datetime
import logging
import os
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from keepserve.config.problems import ConfigError
from keepserve.config.settings import Settings
from keepserve.server.tls import build_context


@dataclass(frozen=True)
class Files:
    """PEM files of one certificate authority and one server."""

    authority: trustme.CA
    ca: str
    cert: str
    key: str
    both: str
    encrypted: str
    other_key: str


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    server, other = authority.issue_cert("localhost"), authority.issue_cert("elsewhere")
    cert, key = server.cert_chain_pems[0].bytes(), server.private_key_pem.bytes()
    encrypted = load_pem_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )

    def write(name: str, content: bytes) -> str:
        path = directory / name
        path.write_bytes(content)
        return str(path)

    return Files(
        authority=authority,
        ca=write("ca.pem", authority.cert_pem.bytes()),
        cert=write("cert.pem", cert),
        key=write("key.pem", key),
        both=write("both.pem", key + cert),
        encrypted=write("encrypted.pem", encrypted),
        other_key=write("other.pem", other.private_key_pem.bytes()),
    )


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """Connect two contexts in memory; the client's end."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    open_ends = list(ends)
    while open_ends:
        for end in open_ends[:]:
            try:
                end.do_handshake()
                open_ends.remove(end)
            except ssl.SSLWantReadError:
                pass
    return ends[0]


def _client(files: Files, *protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.ca)
    context.set_alpn_protocols(protocols or ("http/1.1", "h2"))
    return context


def _build(**settings: Any) -> ssl.SSLContext:
    context = build_context(Settings(**settings))
    assert context is not None
    return context


def _refusal(**settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        build_context(Settings(**settings))
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said


def test_without_a_certificate_there_is_no_context() -> None:
    assert build_context(Settings()) is None


def test_a_client_gets_the_certificate_and_http2(files: Files) -> None:
    seen = _handshake(_build(ssl_certfile=files.cert, ssl_keyfile=files.key), _client(files))
    assert seen.selected_alpn_protocol() == "h2"
    assert seen.version() == "TLSv1.3"


def test_a_client_without_http2_or_a_server_that_has_it_off_gets_http11(files: Files) -> None:
    seen = _handshake(_build(ssl_certfile=files.both), _client(files, "http/1.1"))
    assert seen.selected_alpn_protocol() == "http/1.1"
    seen = _handshake(_build(ssl_certfile=files.both, http2="off"), _client(files))
    assert seen.selected_alpn_protocol() == "http/1.1"


def test_key_and_certificate_may_be_in_one_file(files: Files) -> None:
    _handshake(_build(ssl_certfile=files.both), _client(files))


def test_an_encrypted_key_is_opened_with_its_password(files: Files) -> None:
    context = _build(ssl_certfile=files.cert, ssl_keyfile=files.encrypted, ssl_keyfile_password="secret")
    _handshake(context, _client(files))


def test_versions_before_tls_12_are_off(files: Files) -> None:
    assert _build(ssl_certfile=files.both).minimum_version == ssl.TLSVersion.TLSv1_2


def test_ciphers_of_tls_12_can_be_chosen(files: Files) -> None:
    client = _client(files)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    context = _build(ssl_certfile=files.both, ssl_ciphers="ECDHE-ECDSA-AES256-GCM-SHA384")
    assert _handshake(context, client).cipher()[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"  # type: ignore[index]


def test_a_client_certificate_can_be_required(files: Files) -> None:
    context = _build(ssl_certfile=files.both, ssl_ca_certs=files.ca, ssl_cert_reqs="required")
    client = _client(files)
    files.authority.issue_cert("someone").configure_cert(client)
    _handshake(context, client)
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        _handshake(context, _client(files))


def test_authorities_that_verify_nobody_are_a_warning(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "keepserve"):
        _build(ssl_certfile=files.both, ssl_ca_certs=files.ca)
    assert "--ssl-cert-reqs required" in caplog.text


def test_a_missing_file_is_named(files: Files, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    assert f"--ssl-certfile {missing} cannot be read: No such file" in _refusal(ssl_certfile=missing)
    assert f"--ssl-keyfile {missing} cannot" in _refusal(ssl_certfile=files.cert, ssl_keyfile=missing)
    assert "--ssl-ca-certs" in _refusal(ssl_certfile=files.both, ssl_ca_certs=missing)
    assert "Is a directory" in _refusal(ssl_certfile=str(tmp_path))


def test_a_file_of_the_wrong_kind_is_named(files: Files) -> None:
    assert f"{files.key} holds no certificate" in _refusal(ssl_certfile=files.key)
    assert f"{files.cert} holds no private key" in _refusal(ssl_certfile=files.cert, ssl_keyfile=files.cert)
    assert "Name it with --ssl-keyfile" in _refusal(ssl_certfile=files.cert)


def test_a_key_of_another_certificate_is_told(files: Files) -> None:
    said = _refusal(ssl_certfile=files.cert, ssl_keyfile=files.other_key)
    assert f"{files.other_key} does not belong to the certificate in {files.cert}" in said


def test_a_missing_password_is_told_rather_than_asked_on_the_terminal(files: Files) -> None:
    assert "is encrypted" in _refusal(ssl_certfile=files.cert, ssl_keyfile=files.encrypted)


def test_a_wrong_password_is_told_and_not_shown(files: Files) -> None:
    said = _refusal(ssl_certfile=files.cert, ssl_keyfile=files.encrypted, ssl_keyfile_password="wrong-one")
    assert "password does not open" in said
    assert "wrong-one" not in said


def test_a_damaged_file_is_told(files: Files, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n")
    assert "damaged" in _refusal(ssl_certfile=str(damaged), ssl_keyfile=files.key)
    assert "damaged" in _refusal(ssl_certfile=files.both, ssl_ca_certs=str(damaged))


def test_unknown_ciphers_are_told(files: Files) -> None:
    assert '"NOPE" selects no cipher' in _refusal(ssl_certfile=files.both, ssl_ciphers="NOPE")


def test_settings_that_need_others_say_which(files: Files) -> None:
    assert "add --ssl-certfile" in _refusal(ssl_keyfile=files.key)
    assert "add --ssl-certfile" in _refusal(ssl_ca_certs=files.ca)
    assert "needs --ssl-certfile" in _refusal(ssl_cert_reqs="required")
    assert "needs --ssl-ca-certs" in _refusal(ssl_certfile=files.both, ssl_cert_reqs="required")


# -- How long it is good, and who can read the key

NOW = datetime.datetime(2030, 6, 1, 12, 0, tzinfo=datetime.UTC)


def _dated(files: Files, directory: Path, *, begins: float = -10, ends: float = 90) -> str:
    """A certificate whose times are so many days from now."""
    made = files.authority.issue_cert(
        "localhost",
        not_before=NOW + datetime.timedelta(days=begins),
        not_after=NOW + datetime.timedelta(days=ends),
    )
    path = directory / "dated.pem"
    made.private_key_and_cert_chain_pem.write_to_path(str(path))
    path.chmod(0o600)
    return str(path)


def _build_now(path: str) -> ssl.SSLContext | None:
    return build_context(Settings(ssl_certfile=path), wall=NOW.timestamp)


def test_the_days_a_certificate_has_left_are_logged_and_known(
    files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "keepserve")
    path = _dated(files, tmp_path, ends=90)
    context = build_context(Settings(ssl_certfile=path), wall=NOW.timestamp)
    assert caplog.messages == [f"The certificate in {path} is valid for 90 more days, until 2030-08-30 12:00:00 UTC"]
    assert context is not None
    assert context.valid_until == (NOW + datetime.timedelta(days=90)).timestamp()
    assert context.valid_from == (NOW - datetime.timedelta(days=10)).timestamp()
    assert context.certificate is not None
    assert context.certificate in Path(path).read_text()


@pytest.mark.parametrize(("days", "warned"), [(14.5, False), (13.9, True), (0.5, True)])
def test_a_certificate_that_ends_soon_is_a_warning(
    files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture, days: float, warned: bool
) -> None:
    with caplog.at_level(logging.WARNING, "keepserve"):
        _build_now(_dated(files, tmp_path, ends=days))
    assert [f"expires in {int(days)} days" in message for message in caplog.messages] == [True] * warned


def test_an_expired_certificate_is_refused(files: Files, tmp_path: Path) -> None:
    path = _dated(files, tmp_path, begins=-90, ends=-0.01)
    with pytest.raises(ConfigError, match=r"has expired at 2030-06-01 11:45:36 UTC: renew it"):
        _build_now(path)


def test_a_certificate_of_the_future_is_a_warning_since_it_may_be_our_clock(
    files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "keepserve"):
        assert _build_now(_dated(files, tmp_path, begins=1)) is not None
    assert "is not valid before 2030-06-02 12:00:00 UTC" in caplog.text


def test_a_key_everybody_can_read_is_a_warning(
    files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _dated(files, tmp_path)
    with caplog.at_level(logging.WARNING, "keepserve"):
        os.chmod(path, 0o640)  # a group for those who need it is common
        _build_now(path)
        assert caplog.messages == []
        os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) | stat.S_IROTH)
        _build_now(path)
    assert f"The private key in {path} can be read by every user" in caplog.text
