"""A bucket server of our own for very many objects: fake-gcs-server looks at all of them for each request.

    python object_server.py PORT OBJECTS.json

It knows the few requests of Google's JSON API that storage clients make of objects: list, describe, read, write whole (if the
generation is as seen), in several parts too, and remove. OBJECTS.json: bucket/name -> text, what is there at first.
"""

import base64
import bisect
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Any

import google_crc32c
from aiohttp import web

_PAGE = 1000


class Objects:
    """Names in order, and by (bucket, name) content and generation."""

    def __init__(self, given: dict[str, str]) -> None:
        self._held: dict[str, tuple[bytes, int]] = {path: (text.encode(), 1) for path, text in given.items()}
        self._names, self._generation, self._uploads = sorted(self._held), 1, dict[str, tuple[str, Any]]()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        place = re.fullmatch(r"/(?:upload/|download/)?storage/v1/b/([^/]+)(?:/o(?:/(.+))?)?", request.path)
        if place is None:
            return _json({"error": {"code": 404, "message": f"no {request.path}"}}, 404)
        bucket, name = place[1], place[2]
        if request.path.startswith("/upload/"):
            return await self._write(request, bucket)
        if name is None:
            return _json(self._listed(bucket, request.query) if request.path.endswith("/o") else {"name": bucket})
        path = f"{bucket}/{name}"
        if path not in self._held:
            return _json({"error": {"code": 404, "message": f"No such object: {path}"}}, 404)
        if request.method == "DELETE":
            del self._held[path]
            return web.Response(status=204)
        if request.query.get("alt") == "media":
            return web.Response(body=self._held[path][0])
        return _json(self._described(path))

    def _described(self, path: str) -> dict[str, str]:
        content, generation = self._held[path]
        bucket, _, name = path.partition("/")
        times = {key: "2026-01-01T00:00:00.000Z" for key in ("timeCreated", "updated")}
        said = {"kind": "storage#object", "bucket": bucket, "name": name, "size": str(len(content)), **times}
        return {**said, "generation": str(generation), "metageneration": "1", "etag": str(generation)}

    def _listed(self, bucket: str, query: Any) -> dict[str, Any]:
        prefix, delimiter = f"{bucket}/{query.get('prefix', '')}", query.get("delimiter")
        items, folders = list[dict[str, str]](), set[str]()
        listed = {"kind": "storage#objects", "items": items}
        size = min(_PAGE, int(query.get("maxResults", _PAGE)))
        at = bisect.bisect_left(self._names, query.get("pageToken", prefix))
        while at < len(self._names) and self._names[at].startswith(prefix):
            path = self._names[at]
            if len(items) + len(folders) == size:
                return {**listed, "prefixes": sorted(folders), "nextPageToken": path}
            inner = path[len(prefix) :].partition(delimiter)[0] if delimiter else None
            if inner is not None and len(inner) < len(path) - len(prefix):
                # What is inside of a folder is passed over at once.
                below = f"{prefix}{inner}{delimiter}"
                end = bisect.bisect_left(self._names, below[:-1] + chr(ord(below[-1]) + 1))
                if any(one in self._held for one in self._names[at:end]):
                    folders.add(below.partition("/")[2])
                at = end
                continue
            if path in self._held:
                items.append(self._described(path))
            at += 1
        return {**listed, "prefixes": sorted(folders)}

    async def _write(self, request: web.Request, bucket: str) -> web.StreamResponse:
        body, query, kind = await request.read(), request.query, request.query["uploadType"]
        if "upload_id" in query:
            path, wanted = self._uploads.pop(query["upload_id"])
            return self._keep(path, body, wanted)
        wanted = query.get("ifGenerationMatch")
        if kind == "multipart":
            # As an e-mail: the description, then the content.
            whole = b"Content-Type: " + request.headers["Content-Type"].encode() + b"\r\n\r\n" + body
            described, _ = message_from_bytes(whole).get_payload()
            name = json.loads(described.get_payload(decode=True))["name"]  # type: ignore[union-attr]
            boundary = re.search(r'boundary="?([^";]+)', request.headers["Content-Type"])[1].encode()  # type: ignore[index]
            content = body.split(b"--" + boundary)[2].split(b"\r\n\r\n" if b"\r\n\r\n" in body else b"\n\n", 1)[1]
            return self._keep(f"{bucket}/{name}", _ended(content), wanted)
        name = query.get("name") or json.loads(body)["name"]
        number = str(len(self._uploads) + self._generation)
        self._uploads[number] = (f"{bucket}/{name}", wanted)
        place = f"http://{request.host}{request.path}?uploadType=resumable&upload_id={number}"
        return web.Response(headers={"Location": place})

    def _keep(self, path: str, content: bytes, wanted: str | None) -> web.StreamResponse:
        generation = self._held[path][1] if path in self._held else 0
        if wanted is not None and int(wanted) != generation:
            return _json({"error": {"code": 412, "message": "the generation is another one"}}, 412)
        self._generation += 1
        at = bisect.bisect_left(self._names, path)
        if self._names[at : at + 1] != [path]:
            self._names.insert(at, path)
        self._held[path] = (content, self._generation)
        # Google's own client compares it.
        crc = base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
        return _json({**self._described(path), "crc32c": crc})


def _ended(content: bytes) -> bytes:
    """Without the line end before the boundary."""
    return content.removesuffix(b"\n").removesuffix(b"\r")


def _json(content: dict[str, Any], status: int = 200) -> web.Response:
    return web.json_response(content, status=status)


@contextmanager
def object_server(objects: Path) -> Iterator[int]:
    """Its port, once it answers."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    process = subprocess.Popen([sys.executable, __file__, str(port), str(objects)])
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/storage/v1/b/bucket", timeout=10).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def main() -> None:
    objects = Objects(json.loads(Path(sys.argv[2]).read_bytes()))
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{path:.*}", objects.answer)
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
