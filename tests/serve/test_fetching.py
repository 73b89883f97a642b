"""Addresses that others name: where they may lead, and what is fetched."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tamperscope.errors import InputError
from tamperscope.serve.fetching import Fetcher, checked, is_public
from tamperscope.serve.webhooks import HEADER, Webhooks, signature


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0",
        "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2001:0:1::1", "2001:db8::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8"]
)
def test_addresses_that_are(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.jpg", "ftp://example.org", "file:///etc/passwd", "https://", "https:///a",
        "//example.org", "https://user@example.org/", "https://user:pw@example.org/", "https://example.org:99999/", "https://h:x/",
        "gopher://example.org", "data:image/png;base64,x", "", "example.org/a.jpg",
    ],
)  # fmt: skip
def test_addresses_that_may_not_be_asked_for(url: str) -> None:
    with pytest.raises(InputError, match="expected an"):
        checked(url)


def resolving(*answers: list[str]) -> Any:
    """Return a resolver that gives one list of addresses after another."""
    left = list(answers)

    def resolve(host: str, port: int, **more: Any) -> list[Any]:
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    return resolve


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["169.254.169.254"], []])
def test_hosts_with_any_address_that_is_not_public_are_not_asked(tmp_path: Path, addresses: list[str]) -> None:
    fetcher = Fetcher(2.0, resolving(addresses))
    with pytest.raises(InputError, match="public internet"):
        fetcher.get("https://rebound.example/a.jpg", tmp_path / "a", 100)
    assert not (tmp_path / "a").exists()


class Handler(BaseHTTPRequestHandler):
    posted: list[tuple[dict[str, str], bytes]] = []  # noqa: RUF012
    failures = 0

    def do_GET(self) -> None:
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        self.send_response(404 if self.path == "/gone" else 200)
        if self.path == "/honest":
            self.send_header("Content-Length", "5000")
        self.end_headers()
        self.wfile.write(b"x" * 5000 if self.path in ("/honest", "/silent") else b"picture")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).posted.append((dict(self.headers), body))
        type(self).failures -= 1
        self.send_response(500 if type(self).failures >= 0 else 204)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, ssl.SSLContext]]:
    """A server of https on this machine, and the trust in it."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pictures.example")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = x509.SubjectAlternativeName([x509.DNSName("pictures.example")])
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
        .add_extension(names, critical=False).add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "cert").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    found.socket = context.wrap_socket(found.socket, server_side=True)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found.server_port, ssl.create_default_context(cafile=str(folder / "cert"))
    found.shutdown()


def local(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def test_a_file_is_fetched_from_the_address_that_was_checked(server: Any, tmp_path: Path) -> None:
    port, trust = server
    fetcher = Fetcher(10.0, resolving(["127.0.0.1"]), local, trust)
    base = f"https://pictures.example:{port}"
    assert fetcher.get(f"{base}/a.jpg", tmp_path / "a", 100) == f"{base}/a.jpg"
    assert (tmp_path / "a").read_bytes() == b"picture"
    assert fetcher.get(f"{base}/to//b.jpg", tmp_path / "b", 100) == f"{base}/b.jpg"
    for path in ("honest", "silent"):
        with pytest.raises(InputError, match="at most 100 bytes"):
            fetcher.get(f"{base}/{path}", tmp_path / "c", 100)
    with pytest.raises(InputError, match="found 404"):
        fetcher.get(f"{base}/gone", tmp_path / "d", 100)
    with pytest.raises(InputError, match="https://"):
        fetcher.get(f"{base}/to/http://pictures.example/", tmp_path / "e", 100)
    with pytest.raises(InputError, match="redirects"):
        fetcher.get(f"{base}/to//to//to//to//to//a", tmp_path / "f", 100)


def test_a_name_that_changes_its_mind_leads_nowhere(server: Any, tmp_path: Path) -> None:
    port, trust = server
    fetcher = Fetcher(10.0, resolving(["127.0.0.1"], ["127.0.0.2"]), lambda a: a == "127.0.0.1", trust)
    fetcher.get(f"https://pictures.example:{port}/a", tmp_path / "a", 100)
    with pytest.raises(InputError, match="public"):
        fetcher.get(f"https://pictures.example:{port}/a", tmp_path / "a", 100)


def test_other_certificates_are_not_trusted(server: Any, tmp_path: Path) -> None:
    port, _ = server
    fetcher = Fetcher(10.0, resolving(["127.0.0.1"]), local)
    with pytest.raises(InputError, match="could not be asked"):
        fetcher.get(f"https://pictures.example:{port}/a", tmp_path / "a", 100)


def test_webhooks_are_signed_and_sent_again(server: Any) -> None:
    port, trust = server
    pauses: list[float] = []
    hooks = Webhooks("secret", Fetcher(10.0, resolving(["127.0.0.1"]), local, trust), pauses.append)
    Handler.posted, Handler.failures = [], 2
    url = f"https://pictures.example:{port}/hook"
    assert hooks._send(url, json.dumps({"id": "1"}).encode())
    assert len(Handler.posted) == 3
    assert pauses == [0.0, 5.0, 60.0]
    headers, body = Handler.posted[-1]
    at, _, mac = headers[HEADER].partition(",v1=")
    expected = hmac.new(b"secret", at.removeprefix("t=").encode() + b"." + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(mac, expected)
    assert headers[HEADER] == signature("secret", body, int(at.removeprefix("t=")))
    Handler.failures = 9
    assert not hooks._send(url, b"{}")
    assert not Webhooks("secret", Fetcher(1.0, resolving(["10.0.0.1"])), pauses.append)._send(url, b"{}")
    hooks.close()
