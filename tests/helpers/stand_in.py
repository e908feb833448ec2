"""Stand-ins for platforms: an HTTP server on loopback that records requests, and throw-away credentials for it."""

import http.server
import json
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    body: Any


Answer = Callable[[Request], tuple[int, Any]]


class StandIn:
    """Answers every request with what `answer` gives (status and JSON, or text), and keeps the requests.

    Its name is localhost: Beam then talks plain REST to it. /token gives access tokens.
    """

    def __init__(self, answer: Answer) -> None:
        self.requests: list[Request] = []
        stand_in = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = urllib.parse.urlsplit(self.path)
                if parts.path == "/token":
                    status, result = 200, {"access_token": "t", "expires_in": 3600, "token_type": "Bearer"}
                else:
                    body = json.loads(content) if content else None
                    request = Request(self.command, parts.path, dict(urllib.parse.parse_qsl(parts.query)), body)
                    stand_in.requests.append(request)
                    status, result = answer(request)
                data = result.encode() if isinstance(result, str) else json.dumps(result).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if isinstance(result, str) else "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _answer

            def log_message(self, format: str, *values: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://localhost:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def service_account(path: Path, token_uri: str) -> Path:
    """A key file of a service account that nobody has, whose tokens come from `token_uri`."""
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    fields = {
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": "nobody@my-project.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_uri,
    }
    path.write_text(json.dumps(fields), encoding="utf-8")
    return path
