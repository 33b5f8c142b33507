"""A server on loopback for the files of a folder, with byte ranges as web servers have them."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ranges = True
    failures = 0
    """How many of the next requests for files fail."""
    bytes_sent = 0

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.is_file() and type(self).failures > 0:
            type(self).failures -= 1
            self.send_error(503)
            return
        if not self.ranges or not path.is_file():
            super().do_GET()
            return
        content = path.read_bytes()
        first, last = 0, len(content) - 1
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(asked[1]), min(int(asked[2] or last), last)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Last-Modified", self.date_time_string(path.stat().st_mtime_ns // 10**9))
        self.end_headers()
        type(self).bytes_sent += last + 1 - first
        self.wfile.write(content[first : last + 1])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def range_server(folder: Path, *, ranges: bool = True) -> Iterator[tuple[str, type[_Handler]]]:
    """Serve a folder; gives its URL and the handler, which counts and can fail."""
    handler = type("Handler", (_Handler,), {"ranges": ranges})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        server.server_close()
