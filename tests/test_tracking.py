"""A training's record on a tracking server that comes and goes."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from mlflow.tracking._tracking_service import utils as tracking_uris

from deepdepixelate.errors import UserError
from deepdepixelate.tracking import StageRecord
from deepdepixelate.tracking_store import SERVER_VARIABLE, ProjectStore

RUN = "0" * 32


class Server:
    """Takes MLflow's requests on a port of its own while it is up."""

    def __init__(self) -> None:
        self.port = 0
        self.points: list[tuple[str, int, float]] = []
        self.tags: dict[str, str] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def up(self) -> Iterator[None]:
        taken = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                taken.take(json.loads(self.rfile.read(length)))
                self._answer()

            def _answer(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *values: Any) -> None:  # noqa: A002
                pass

        with ThreadingHTTPServer(("127.0.0.1", self.port), Handler) as server:
            self.port = server.server_port
            thread = Thread(target=server.serve_forever)
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()

    def take(self, request: dict[str, Any]) -> None:
        for each in request.get("metrics", []):
            self.points.append((each["key"], each["step"], each["value"]))
        if "key" in request:
            self.tags[request["key"]] = request["value"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    server = Server()
    with server.up():
        pass
    monkeypatch.setenv(SERVER_VARIABLE, server.address)
    monkeypatch.setattr(tracking_uris, "_tracking_uri", None)  # what other tests have set
    return server


def test_points_are_kept_while_the_server_is_gone_and_sent_when_it_answers(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="deepdepixelate")
    record = StageRecord("pretrain", RUN)
    with server.up():
        record.log(10, {"loss": 0.5})
    record.run.resumed("1" * 32, 5)
    for step in (20, 30):
        record.log(step, {"loss": 0.5 - step / 100})
    assert server.points == [("pretrain.loss", 10, 0.5)]
    with server.up():
        record.log(40, {"loss": 0.1})
    assert [(name, step) for name, step, _ in server.points] == [
        ("pretrain.loss", step) for step in (10, 20, 30, 40)
    ]
    assert [value for *_, value in server.points] == pytest.approx([0.5, 0.3, 0.2, 0.1])
    assert server.tags["pretrain.continues_run"] == "1" * 32
    gone, back = (record.message for record in caplog.records)
    assert "pretrain goes on" in gone
    assert "answers again" in back


def test_what_could_not_be_sent_in_the_end_is_counted(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="deepdepixelate")
    record = StageRecord("train_gan", RUN)
    record.log(10, {"loss": 0.5, "content_loss": 0.25})
    record.send(last=True)
    assert "2 points of the curves of train_gan are lost" in caplog.records[-1].message


def test_a_server_that_does_not_answer_is_named_before_anything_begins(
    server: Server, tmp_path: Path
) -> None:
    with (
        pytest.raises(UserError, match="does not answer") as caught,
        ProjectStore(tmp_path).setting_up(),
    ):
        pass
    assert server.address in str(caught.value)
    with server.up(), ProjectStore(tmp_path).setting_up():
        assert list(tmp_path.iterdir()) == []
