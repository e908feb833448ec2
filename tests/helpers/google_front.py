"""Google's storage on loopback: fake-gcs-server behind a CONNECT proxy that ends TLS for *.googleapis.com.

TensorFlow's gs:// knows no other address than Google's, so it is sent through the proxy with a certificate authority of
the test; the other clients take the same door by STORAGE_EMULATOR_HOST. Every other host is refused: nothing leaves the
machine.
"""

import datetime
import http.client
import http.server
import ipaddress
import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gcsfs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from storage_server import storage_server

# Its objects may be seen by nobody.
FORBIDDEN_BUCKET = "forbidden"
_TOKEN = json.dumps({"access_token": "of the test", "expires_in": 3600, "token_type": "Bearer"}).encode()
_NOT_PASSED_ON = ("transfer-encoding", "content-length", "connection", "proxy-connection", "expect")


def _private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def files() -> gcsfs.GCSFileSystem:
    """The storage as the tests look at it themselves."""
    return gcsfs.GCSFileSystem(project="clozekit-tests", use_listings_cache=False)


def write_certificates(folder: Path) -> tuple[Path, Path]:
    """A certificate authority that lives for a day, and a certificate of Google's hosts with its key: their paths."""
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = _private_key(), _private_key()
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Clozekit's tests")])

    def certificate(name: x509.Name, public_key: Any) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(ca_name).public_key(public_key)
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(
            now + datetime.timedelta(days=1)
        )

    ca = certificate(ca_name, ca_key.public_key())
    ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    names = [x509.DNSName("*.googleapis.com"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = certificate(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "googleapis.com")]), key.public_key())
    server = server.add_extension(x509.SubjectAlternativeName(names), critical=False)
    authority, pair = folder / "ca.pem", folder / "server.pem"
    authority.write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    pair.write_bytes(_pem(key) + server.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return authority, pair


def write_service_account(path: Path, token_url: str) -> None:
    """Credentials of nobody, whose tokens the front gives."""
    account = {
        "type": "service_account",
        "project_id": "clozekit-tests",
        "private_key_id": "1",
        "private_key": _pem(_private_key()).decode(),
        "client_email": "nobody@clozekit-tests.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_url,
    }
    path.write_text(json.dumps(account), encoding="utf-8")


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """What the threads that answer share."""

    daemon_threads = True

    def __init__(self, storage_port: int, tls: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.storage_port, self.tls = storage_port, tls
        self.answered: list[tuple[str, str, int]] = []
        self.refused: list[str] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection: plain, or after a CONNECT in TLS."""

    protocol_version = "HTTP/1.1"
    server: _Server
    _host: str | None = None

    def do_CONNECT(self) -> None:
        host = self.path.rsplit(":", 1)[0]
        if not host.endswith(".googleapis.com"):
            self.server.refused.append(host)
            self.send_error(403, "no host but Google's storage")
            return
        self._host = host
        self.wfile.write(b"HTTP/1.1 200 connected\r\n\r\n")
        self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb", -1)
        self.wfile = self.connection.makefile("wb", 0)  # type: ignore[assignment]
        self.close_connection = False

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:
            # The client went away, as killed ones do.
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            # The server closes the socket it accepted; after a CONNECT that one is inside of another.
            self.connection.close()

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def _answer(self) -> None:
        body = self._body()
        path = self.path.split("?")[0]
        if path.endswith("/token"):
            self._send(200, [("Content-Type", "application/json")], _TOKEN)
        elif f"/{FORBIDDEN_BUCKET}/" in f"{path}/":
            reason = {"code": 403, "message": "nobody@clozekit-tests does not have storage.objects access"}
            self._send(403, [("Content-Type", "application/json")], json.dumps({"error": reason}).encode())
        elif path.endswith("/storageLayout"):
            # TensorFlow asks before it renames a folder; fake-gcs-server does not know the question.
            self._send(200, [("Content-Type", "application/json")], b'{"hierarchicalNamespace": {"enabled": false}}')
        else:
            self._send(*self._ask_storage(_with_part_names(body) if path.startswith("/batch/") else body))

    def _ask_storage(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        # TensorFlow sends `Transfer-Encoding: identity`, which Go's HTTP refuses.
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_PASSED_ON}
        if body or self.command in ("POST", "PUT", "PATCH"):
            headers["Content-Length"] = str(len(body))
        storage = http.client.HTTPConnection("127.0.0.1", self.server.storage_port, timeout=60)
        try:
            storage.request(self.command, self.path, body=body or None, headers=headers)
            response = storage.getresponse()
            content = response.read()
        finally:
            storage.close()
        answer = [(name, value) for name, value in response.getheaders() if name.lower() not in _NOT_PASSED_ON]
        if self.command == "HEAD":
            answer.append(("Content-Length", response.getheader("Content-Length") or "0"))
        return response.status, [(name, self._mended(name, value)) for name, value in answer], content

    def _mended(self, name: str, value: str) -> str:
        """Where an upload goes on, the storage names itself, which a client of Google's can't reach."""
        if name.lower() == "location" and self._host is not None and value.startswith("http"):
            return f"https://{self._host}/{value.split('/', 3)[3]}"
        return value

    def _send(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.server.answered.append((self.command, self.path, status))
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _answer

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: what was answered is kept in `answered`."""


def _with_part_names(body: bytes) -> bytes:
    """fake-gcs-server passes over the parts of a batch that have no Content-ID, as google-cloud-storage sends them."""
    if b"Content-ID" in body:
        return body
    start = b"Content-Type: application/http"
    first, *parts = body.split(start)
    ending = b"\r\n" if b"\r\n" in body else b"\n"
    named = [start + ending + b"Content-ID: <%d>" % number + part for number, part in enumerate(parts)]
    return first + b"".join(named)


@dataclass(frozen=True)
class Storage:
    """The storage while it runs. environment: variables by which the clients find it; answered: (method, path, status)
    of every request; refused: hosts that were asked for and are not Google's storage."""

    environment: dict[str, str]
    answered: list[tuple[str, str, int]]
    refused: list[str] = field(default_factory=list)


@contextmanager
def google_storage(folder: Path) -> Iterator[Storage]:
    """Starts the storage and the front; certificates and credentials go into `folder`."""
    authority, pair = write_certificates(folder)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair)
    with storage_server(is_alone=False) as port:
        front = _Server(port, tls)
        yield from _served(front, folder, authority)


def _served(front: "_Server", folder: Path, authority: Path) -> Iterator[Storage]:
    thread = threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    url = f"http://127.0.0.1:{front.server_address[1]}"
    account = folder / "service-account.json"
    write_service_account(account, f"{url}/token")
    environment = {
        "STORAGE_EMULATOR_HOST": url,
        "https_proxy": url,
        "HTTPS_PROXY": url,
        "no_proxy": "127.0.0.1,localhost",
        "NO_PROXY": "127.0.0.1,localhost",
        "CURL_CA_BUNDLE": str(authority),
        "REQUESTS_CA_BUNDLE": str(authority),
        "GOOGLE_APPLICATION_CREDENTIALS": str(account),
        "NO_GCE_CHECK": "true",
        # Else every failure takes TensorFlow minutes.
        "GCS_RETRY_CONFIG_MAX_RETRIES": "1",
        # Else gcsfs asks for a service that no emulator has, and waits a minute.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }
    try:
        yield Storage(environment, front.answered, front.refused)
    finally:
        front.shutdown()
        thread.join()
        front.server_close()
