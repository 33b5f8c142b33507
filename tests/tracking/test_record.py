"""A training's record on a tracking server that comes and goes."""

import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service import utils as tracking_uris

from deepdepixelate.errors import UserError
from deepdepixelate.tracking import record as tracking
from deepdepixelate.tracking.outbox import Outbox
from deepdepixelate.tracking.record import StageRecord, open_record
from deepdepixelate.tracking.store import SERVER_VARIABLE, ProjectStore

RUN = "0" * 32


class Server:
    """Takes MLflow's requests on a port of its own while it is up."""

    def __init__(self) -> None:
        self.port = 0
        self.points: list[tuple[str, int, float]] = []
        self.tags: dict[str, str] = {}
        self.status = 200

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
                self.send_response(taken.status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *values: Any) -> None:  # noqa: A002
                pass

        with ThreadingHTTPServer(("127.0.0.1", self.port), Handler) as server:
            self.port = server.server_port
            thread = Thread(target=server.serve_forever, args=(0.01,))  # seconds to notice its end
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()

    def take(self, request: dict[str, Any]) -> None:
        for each in request.get("metrics", []):
            self.points.append((each["key"], each["step"], each["value"]))
        for each in request.get("tags", []):
            self.tags[each["key"]] = each["value"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    server = Server()
    with server.up():
        pass
    monkeypatch.setenv(SERVER_VARIABLE, server.address)
    monkeypatch.setattr(tracking_uris, "_tracking_uri", None)  # what other tests have set
    return server


@pytest.fixture
def outbox(monkeypatch: pytest.MonkeyPatch) -> Outbox:
    outbox = Outbox()
    monkeypatch.setattr(tracking, "OUTBOX", outbox)
    monkeypatch.setattr("deepdepixelate.tracking.outbox._PAUSE", 0)
    return outbox


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


def test_points_are_kept_while_the_server_is_gone_and_sent_when_it_answers(
    server: Server, outbox: Outbox, caplog: pytest.LogCaptureFixture
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
    outbox.conclude(RUN)
    assert [(name, step) for name, step, _ in server.points] == [
        ("pretrain.loss", step) for step in (10, 20, 30, 40)
    ]
    assert [value for *_, value in server.points] == pytest.approx([0.5, 0.3, 0.2, 0.1])
    assert server.tags["pretrain.continues_run"] == "1" * 32
    gone, back = (record.message for record in caplog.records)
    assert "The run continues" in gone
    assert "answers again" in back
    assert not warnings(caplog)


def test_the_warning_at_the_end_names_once_what_could_not_be_sent(
    server: Server, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[str] = []

    def end() -> None:
        ended.append(RUN)
        mlflow.MlflowClient().set_terminated(RUN)

    record = StageRecord("train_gan", RUN)
    record.log(10, {"loss": 0.5, "content_loss": 0.25})
    outbox.send("the file report.html", partial(mlflow.MlflowClient().set_tag, RUN, "a", "b"))
    outbox.conclude(RUN, end)
    assert ended == [RUN]
    (warning,) = warnings(caplog)
    for part in (server.address, f"run {RUN}", "not answer", "curves of train_gan; the file repo"):
        assert part in warning
    assert "status stays RUNNING" in warning
    outbox.conclude(RUN)
    assert len(warnings(caplog)) == 1


def test_a_server_that_is_down_is_not_checked_for_a_while_but_at_the_end(
    server: Server,
    outbox: Outbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("deepdepixelate.tracking.outbox._PAUSE", 1000)
    record = StageRecord("pretrain", RUN)
    record.log(1, {"loss": 0.5})
    with server.up():
        record.log(2, {"loss": 0.4})
        assert not server.points
        outbox.conclude(RUN)
    assert [step for _, step, _ in server.points] == [1, 2]
    assert not warnings(caplog)


def test_a_refused_request_does_not_keep_back_the_others(
    server: Server, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    def refused() -> None:
        raise MlflowException("413, too large, for http://me:secret@host/")

    record = StageRecord("pretrain", RUN)
    with server.up():
        outbox.send("the file big", refused)
        record.log(1, {"loss": 0.5})
        outbox.conclude(RUN)
    assert len(server.points) == 1
    (warning,) = warnings(caplog)
    assert "413, too large" in warning
    assert "Missing are the file big; and" in warning
    assert "secret" not in warning


def test_a_record_that_another_process_keeps_is_sent_before_it_is_closed(
    server: Server, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as up:
        with open_record(server.address, "pretrain", RUN) as (log, _):
            log(1, {"loss": 0.5})
            up.enter_context(server.up())
        assert len(server.points) == 1
    assert not warnings(caplog)


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
    server.status = 503
    with (
        server.up(),
        pytest.raises(UserError, match="does not answer: status 503"),
        ProjectStore(tmp_path).setting_up(),
    ):
        pass


def test_a_server_that_answers_with_an_error_in_the_beginning_is_named_without_the_password(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SERVER_VARIABLE, server.address.replace("//", "//me:secret@"))
    with (
        server.up(),
        pytest.raises(UserError, match="answers with an error: no such table") as caught,
        ProjectStore(tmp_path).answering(),
    ):
        raise MlflowException("no such table")
    assert server.address in str(caught.value)
    assert "secret" not in str(caught.value)
