"""A server on loopback for downloads: it can break off, be slow, answer with a page, or lie."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
QUOTA_PAGE = b"<html><head><title>Google Drive - Quota exceeded</title></head></html>"


@dataclass
class Behaviour:
    """What the server does.

    Attributes:
        files: content by path, or by the value of ``id`` in the query.
        breaks: after how many bytes it ends each of the first responses with a file.
        changes: contents that replace all files, one after each of the first responses.
        status: of every response, instead of the file.
        page: HTML that it sends instead of the file.
        redirect: address to which it redirects all requests.
        ranges: whether it supports byte ranges.
        pause: seconds between blocks of 64 KiB.
        length: the Content-Length that it sends, if not the right one; empty for none.
        asked: path and range of each request for a file.
        tokens: the Authorization of each of them.
    """

    files: dict[str, bytes]
    breaks: list[int] = field(default_factory=list)
    changes: list[bytes] = field(default_factory=list)
    status: int | None = None
    page: bytes | None = None
    redirect: str | None = None
    ranges: bool = True
    pause: float = 0
    length: str | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)

    @property
    def ranges_asked(self) -> list[str | None]:
        return [each for _, each in self.asked]


class _Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self) -> None:
        behaviour = self.behaviour
        address = urlsplit(self.path)
        name = parse_qs(address.query).get("id", [unquote(address.path)])[0]
        asked = self.headers.get("Range")
        if name.startswith("/api/"):
            self._send(behaviour.files.get(name), "application/json")
            return
        behaviour.asked.append((name, asked))
        behaviour.tokens.append(self.headers.get("Authorization"))
        if behaviour.status:
            self.send_error(behaviour.status)
        elif behaviour.redirect:
            self.send_response(302)
            self.send_header("Location", behaviour.redirect)
            self.end_headers()
        elif behaviour.page is not None:
            self._send(behaviour.page, "text/html; charset=utf-8")
        else:
            start = int(asked[6:-1]) if asked and behaviour.ranges else 0
            self._send(behaviour.files.get(name), "application/octet-stream", start)
            if behaviour.changes:
                behaviour.files = dict.fromkeys(behaviour.files, behaviour.changes.pop(0))

    def _send(self, content: bytes | None, kind: str, start: int = 0) -> None:
        behaviour = self.behaviour
        if content is None:
            self.send_error(404)
            return
        if start and start >= len(content):
            self.send_error(416)
            return
        rest = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", kind)
        if length := str(len(rest)) if behaviour.length is None else behaviour.length:
            self.send_header("Content-Length", length)
        self.end_headers()
        if behaviour.breaks and kind == "application/octet-stream":
            rest = rest[: behaviour.breaks.pop(0)]
        for first in range(0, len(rest), 65536):
            try:
                self.wfile.write(rest[first : first + 65536])
            except OSError:  # the client was killed
                return
            sleep(behaviour.pause)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


@contextmanager
def serve(behaviour: Behaviour) -> Iterator[str]:
    """Start the server; gives its address."""
    handler = type("Handler", (_Handler,), {"behaviour": behaviour})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def hub_files(
    repository: str, files: dict[str, bytes], *, stated: dict[str, bytes] | None = None
) -> dict[str, bytes]:
    """What the server needs to act as the Hugging Face Hub with one data set.

    Args:
        repository: its name.
        files: content by name.
        stated: contents whose sizes and hashes the Hub states instead.
    """
    described = []
    for name, content in (stated or files).items():
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        entry = {"rfilename": name, "size": len(content), "blobId": blob.hexdigest()}
        if name.endswith(".parquet"):
            sha256 = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
        described.append(entry)
    info = json.dumps({"id": repository, "sha": COMMIT, "siblings": described}).encode()
    paths = {f"/datasets/{repository}/resolve/{COMMIT}/{name}": files[name] for name in files}
    return {f"/api/datasets/{repository}/revision/main": info, **paths}
