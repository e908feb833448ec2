"""A stand-in for Hugging Face and Kaggle on loopback: it serves files, forgets connections, and writes down requests."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# Files of this size and above are "large" at Hugging Face, and named by their sha256.
LARGE_BYTES = 1000


@dataclass
class Hub:
    """One preset at both hubs, `files` by name, and what goes wrong with it."""

    files: dict[str, bytes]
    newest_version: int = 3
    # File -> how many bytes arrive before the connection is lost, once.
    drops: dict[str, int] = field(default_factory=dict)
    # Files whose bytes are not those that the headers promise.
    damaged: set[str] = field(default_factory=set)
    # Part of a path -> the status that is answered.
    refused: dict[str, int] = field(default_factory=dict)
    # "GET name" or "GET name bytes=3-" for each file sent, "POST Service" for each call of an API.
    requests: list[str] = field(default_factory=list)
    uploads: list[Any] = field(default_factory=list)
    # Of Hugging Face's repository: whether there is none yet, whether everybody may read it; the role of the token.
    is_new: bool = False
    is_private: bool = False
    role: str = "write"
    url: str = ""


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def etag_of(content: bytes) -> str:
    if len(content) >= LARGE_BYTES:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._get(with_body=False)

    def do_GET(self) -> None:
        self._get(with_body=True)

    def _get(self, with_body: bool) -> None:
        # Kaggle's client comes here as to a proxy: its paths are whole URLs.
        path = urlsplit(self.path).path
        if self._is_refused(path):
            return
        if path == "/api/whoami-v2":
            token = {"displayName": "ours", "role": self.hub.role}
            self._json({"type": "user", "name": "ours", "auth": {"accessToken": token}})
            return
        if path.startswith("/api/models/") and self.hub.is_new:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return
        if path.startswith("/api/models/"):
            self.hub.requests.append("GET the list")
            siblings = [{"rfilename": name} for name in self.hub.files]
            self._json({"id": "ours/preset", "sha": COMMIT, "siblings": siblings, "private": self.hub.is_private})
            return
        name = path.split(f"/resolve/{COMMIT}/")[-1].removeprefix("/storage/")
        if name not in self.hub.files:
            self._json({"error": "no such file"}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        self._file(name, with_body)

    def _file(self, name: str, with_body: bool) -> None:
        content = self.hub.files[name]
        wanted = self.headers.get("Range")
        if with_body:
            self.hub.requests.append(f"GET {name}{f' {wanted}' if wanted else ''}")
        first = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.send_header("Accept-Ranges", "bytes")
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", f'"{etag_of(content)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Goog-Hash", f"md5={base64.b64encode(hashlib.md5(content).digest()).decode()}")
        self.end_headers()
        if not with_body:
            return
        sent = bytes(len(content)) if name in self.hub.damaged else content
        if not wanted and name in self.hub.drops:
            self.wfile.write(sent[: self.hub.drops.pop(name)])
            self.close_connection = True
            return
        self.wfile.write(sent[first:])

    def do_PUT(self) -> None:
        content = self._body()
        self.hub.uploads.append((urlsplit(self.path).path, content))
        self._json({})

    def do_POST(self) -> None:
        body = self._body()
        path = urlsplit(self.path).path
        service = path.rsplit("/", 1)[-1]
        if self._is_refused(path):
            return
        self.hub.requests.append(f"POST {service}")
        if service == "DownloadModelInstanceVersion":
            name = json.loads(body)["path"]
            self._json({}, 302, {"Location": f"http://localhost/storage/{name}"})
        elif service == "Hello":
            self._json({"userName": "ours"})
        elif service == "GetModelInstance":
            self._json({"versionNumber": self.hub.newest_version})
        elif service == "ListModelInstanceVersionFiles":
            self._json({"files": [{"name": name} for name in self.hub.files], "nextPageToken": ""})
        elif service == "StartBlobUpload":
            name = json.loads(body)["name"]
            self._json({"token": f"token of {name}", "createUrl": f"http://localhost/blobs/{name}"})
        elif path.startswith("/api/v1/"):
            self.hub.uploads.append((service, json.loads(body)))
            self._json({"url": "http://localhost/", "id": 1})
        elif "/preupload/" in path:
            asked = json.loads(body)["files"]
            self._json(
                {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in asked]}
            )
        elif "/commit/" in path:
            lines = [json.loads(line) for line in body.splitlines()]
            self.hub.uploads += lines
            self._commit(lines)
            self._json({"commitOid": COMMIT, "commitUrl": f"{self.hub.url}/ours/preset/commit/{COMMIT}"})
        else:
            if path == "/api/repos/create":
                self.hub.is_new, self.hub.is_private = False, json.loads(body).get("visibility") == "private"
            self._json({"url": f"{self.hub.url}/ours/preset"})

    def _commit(self, lines: list[Any]) -> None:
        for line in lines:
            if line["key"] == "file":
                self.hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del self.hub.files[line["value"]["path"]]

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _is_refused(self, path: str) -> bool:
        status = next((status for part, status in self.hub.refused.items() if part in path), None)
        if status is not None:
            self.hub.requests.append(f"{status} {path.rsplit('/', 1)[-1]}")
            self._json({"code": status, "message": "refused"}, status)
        return status is not None

    def _json(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
