"""What goes to the exchange besides what was asked for, and what of its words is repeated."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from support.commandline import KEY_ID, Account
from support.rawserver import RawServer, answer, says, serving

from kalshi_fills.cli.settings import build
from kalshi_fills.errors import ExchangeError, Mistakes
from kalshi_fills.exchange.client import RetryBudget
from kalshi_fills.exchange.endpoints import Exchange
from kalshi_fills.exchange.signing import Signer

QUICK = RetryBudget(seconds=5, attempts=2, first_wait_seconds=0.001, longest_wait_seconds=0.003)
PAGE = {"fills": ["a"], "cursor": ""}


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path


@pytest.fixture
def over_tls(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RawServer]:
    """An exchange over TLS whose certificate only the bundle of the environment knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with serving(says(answer(PAGE, "200 OK", "Set-Cookie: who=me; Path=/")), tls=context) as server:
        yield server


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "netrc"
    path.write_text(
        "machine 127.0.0.1 login me password hunter2\ndefault login me password hunter2\n"
    )
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))


def walked(url: str, signer: Signer | None = None, times: int = 1) -> list[Any]:
    exchange = Exchange(url, signer, retry=QUICK)
    try:
        return [
            json.loads(item)
            for _ in range(times)
            for items in exchange.walk("/portfolio/fills", {}, "fills")
            for item in items
        ]
    finally:
        exchange.close()


@pytest.mark.usefixtures("netrc")
def test_credentials_of_netrc_and_cookies_are_never_sent(
    over_tls: RawServer, api_key: Account
) -> None:
    url = f"https://127.0.0.1:{over_tls.port}/trade-api/v2"
    assert walked(url, Signer(KEY_ID, api_key.key), times=2) == ["a", "a"]
    assert len(over_tls.heads) == 2
    for head in over_tls.heads:
        assert "kalshi-access-signature" in head.lower()
        assert "authorization" not in head.lower()
        assert "cookie" not in head.lower()


@pytest.mark.usefixtures("netrc")
def test_nor_are_they_sent_over_loopback_without_tls() -> None:
    with serving(says(answer(PAGE, "200 OK", "Set-Cookie: who=me"))) as server:
        walked(f"http://127.0.0.1:{server.port}/trade-api/v2", times=2)
    for head in server.heads:
        assert "authorization" not in head.lower()
        assert "cookie" not in head.lower()


def test_a_certificate_that_no_bundle_knows_is_refused(
    over_tls: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(ExchangeError, match="certificate") as caught:
        walked(f"https://127.0.0.1:{over_tls.port}/trade-api/v2")
    assert "KALSHI_API_URL" in caught.value.hint
    assert "REQUESTS_CA_BUNDLE" in caught.value.hint
    assert over_tls.heads == []


def tunnel(head: str, connection: socket.socket) -> None:
    """Do what a proxy does for CONNECT."""
    host, _, port = head.split()[1].partition(":")
    with socket.create_connection((host, int(port))) as far:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")

        def back() -> None:
            while block := far.recv(65536):
                connection.sendall(block)

        threading.Thread(target=back, daemon=True).start()
        while block := connection.recv(65536):
            far.sendall(block)


@pytest.mark.usefixtures("netrc")
def test_the_proxy_of_the_environment_is_used_and_only_it_gets_its_credentials(
    over_tls: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tunnel) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://who:proxypass@127.0.0.1:{proxy.port}")
        assert walked(f"https://127.0.0.1:{over_tls.port}/trade-api/v2") == ["a"]
    assert proxy.heads[0].startswith(f"CONNECT 127.0.0.1:{over_tls.port}")
    assert "Proxy-Authorization: Basic" in proxy.heads[0]
    assert len(over_tls.heads) == 1
    assert "authorization" not in over_tls.heads[0].lower()


def test_a_proxy_that_is_down_is_named_without_its_password(
    over_tls: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://who:proxypass@127.0.0.1:1")
    with pytest.raises(ExchangeError) as caught:
        walked(f"https://127.0.0.1:{over_tls.port}/trade-api/v2")
    assert "proxy" in caught.value.message
    assert "proxypass" not in caught.value.message + caught.value.hint


NASTY = [
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m",
    "a\r\nb\x00c",
    "\u202eevil\u2066",
    "\ud800",
    "\u2028line",
]


@pytest.mark.parametrize("status", ["400 Bad", "401 No", "403 No", "503 Later"])
@pytest.mark.parametrize("text", NASTY, ids=ascii)
@pytest.mark.parametrize("shape", ["nested", "text"])
def test_nothing_the_exchange_says_controls_the_terminal(
    shape: str, text: str, status: str
) -> None:
    body = {
        "nested": {"error": {"code": text, "message": text, "details": text}},
        "text": {"error": text},
    }[shape]
    headers = ("Date: \x1b[31m", "Retry-After: \x1b[31m")
    with (
        serving(says(answer(body, status, *headers))) as server,
        pytest.raises(ExchangeError) as caught,
    ):
        walked(f"http://127.0.0.1:{server.port}/trade-api/v2")
    said = caught.value.message + caught.value.hint
    assert said.isprintable()
    said.encode()


def test_what_the_exchange_echoes_of_our_credentials_is_not_repeated(api_key: Account) -> None:
    signer = Signer("3f1c2b1e-aaaa-4bbb-8ccc-0123456789ab", api_key.key)

    def script(head: str, connection: socket.socket) -> None:
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        signature = next(v for k, v in headers.items() if k.upper() == "KALSHI-ACCESS-SIGNATURE")
        quoted = signature.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
        told = f"bad {signature} and {quoted} of {signer.key_id}"
        seen.append(signature)
        connection.sendall(answer(json.dumps({"error": told}).encode(), "400 Bad"))

    seen: list[str] = []
    with serving(script) as server, pytest.raises(ExchangeError) as caught:
        walked(f"http://127.0.0.1:{server.port}/trade-api/v2", signer)
    said = caught.value.message + caught.value.hint
    assert "bad" in said
    assert signer.key_id not in said
    assert not any(seen[0][start : start + 20] in said for start in range(0, 60, 10))


@pytest.mark.parametrize(
    ("told", "mib"), [(None, 64), ("1", 1), ("128", 128), (" 32 ", 32)], ids=repr
)
def test_the_size_limit_is_read_from_the_environment(
    told: str | None, mib: int, tmp_path: Path
) -> None:
    variables = {"CLICKHOUSE_URL": "clickhouse://localhost/x"}
    if told is not None:
        variables["KALSHI_FILLS_MAX_ANSWER_MIB"] = told
    mistakes = Mistakes()
    settings = build({}, variables, mistakes, folder=tmp_path)
    mistakes.raise_if_any()
    assert settings.max_answer_bytes == mib << 20


@pytest.mark.parametrize("told", ["0", "-1", "many", "1e9", "64MiB", "999999", "\u0661"])
def test_a_size_limit_that_is_no_number_is_refused(told: str, tmp_path: Path) -> None:
    variables = {"KALSHI_FILLS_MAX_ANSWER_MIB": told, "CLICKHOUSE_URL": "clickhouse://localhost/x"}
    mistakes = Mistakes()
    build({}, variables, mistakes, folder=tmp_path)
    with pytest.raises(Exception, match="KALSHI_FILLS_MAX_ANSWER_MIB"):
        mistakes.raise_if_any()


def test_the_size_limit_reaches_the_commands(cli: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("chdb", reason="the embedded engine is not installed")
    large = {"fills": ["x" * (2 << 20)], "cursor": "", "read": {}, "as_of_time": "x" * (2 << 20)}
    with serving(says(answer(large))) as server:
        api, url = f"http://127.0.0.1:{server.port}/trade-api/v2", f"chdb://{tmp_path}/chdb"
        assert cli("migrate", url=url).code == 0
        done = cli("sync", url=url, api=api, env={"KALSHI_FILLS_MAX_ANSWER_MIB": "1"})
    assert done.code == 4
    assert "more than 1 MiB" in done.err
