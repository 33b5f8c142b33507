"""Kedro-Viz in a real browser: before and after a run, and as a static site."""

import json
import os
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.request import urlopen

import pytest
from finished_project import finished_project
from kedro_project import Project, make_project
from local_server import wait_until_it_answers
from playwright.sync_api import Browser, Locator, expect
from processes import Process
from watched_page import WatchedPage

pytestmark = pytest.mark.slow

STAGES = ["ingest", "degrade", "pretrain", "train_gan", "evaluate"]
FONTS = "https://fonts.googleapis.com/"  # the one thing that Kedro-Viz's page asks of others


class Viz(WatchedPage):
    def open(self, query: str = "") -> None:
        self.page.goto(f"{self.address}/{query}")
        expect(self.nodes.first).to_be_visible()
        hints = self.page.locator(".feature-hints__close")
        if hints.count():
            hints.click()

    def open_panel(self, name: str) -> None:
        """The panel beside the graph, of a node."""
        self.open(f"?pid=__default__&sid={self.ids[name]}")
        expect(self.panel).to_contain_text(name)

    @property
    def nodes(self) -> Locator:
        return self.page.locator(".pipeline-node")

    def node(self, name: str) -> Locator:
        return self.nodes.filter(has_text=re.compile(f"^{name}$"))

    @property
    def panel(self) -> Locator:
        return self.page.locator(".pipeline-metadata")

    def names(self) -> list[str]:
        return self.nodes.all_text_contents()

    def from_top_to_bottom(self, names: list[str], selector: str) -> list[str]:
        """Once nothing moves any more: the page zooms to the graph, and lets nodes glide."""

        def tops() -> dict[str, float]:
            found = {}
            for name in names:
                bounds = self.page.locator(selector).get_by_text(name, exact=True).bounding_box()
                assert bounds is not None
                found[name] = bounds["y"]
            return found

        before, after = tops(), dict[str, float]()
        while before != after:
            self.page.wait_for_timeout(500)
            before, after = after, tops()
        return sorted(names, key=lambda name: after[name])

    def api(self, path: str) -> Any:
        with urlopen(f"{self.address}/api/{path}", timeout=30) as answer:  # noqa: S310 (loopback)
            return json.load(answer)

    @property
    def ids(self) -> dict[str, str]:
        return {node["name"]: node["id"] for node in self.api("main")["nodes"]}


def free_port() -> int:
    for port in range(41410, 49151):  # Kedro-Viz takes no port above
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError("no port is free")


@contextmanager
def serve(project: Project) -> Iterator[str]:
    """``kedro viz run`` on a port of its own, and the address; ended with all that it started."""
    port = free_port()
    log = project.path / "viz.log"
    arguments = ("viz", "run", "--no-browser", "--host", "127.0.0.1", "--port", str(port))
    process = Process("kedro", *arguments, folder=project.path, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_it_answers(f"{address}/api/main", process, log, seconds=120)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("viz") / "project")


@pytest.fixture(scope="module")
def viz(project: Project, browser: Browser) -> Iterator[Viz]:
    with serve(project) as address:
        page = browser.new_page(viewport={"width": 1600, "height": 950})
        yield Viz(address, page)
        page.close()


@dataclass
class Fresh:
    """What a person sees who has run nothing yet."""

    names: list[str]
    stages: list[str]
    layers: list[str]
    previewed: list[str]
    errors: list[str]
    asked_of_others: list[str]


@pytest.fixture(scope="module")
def fresh(viz: Viz) -> Fresh:
    viz.open()
    seen = Fresh(
        viz.names(),
        viz.from_top_to_bottom(STAGES, ".pipeline-node"),
        viz.page.locator(".pipeline-layer-name").all_text_contents(),
        [name for name, id_ in viz.ids.items() if viz.api(f"nodes/{id_}").get("preview", {})],
        [],
        [],
    )
    viz.open_panel("comparison")
    seen.errors += viz.errors
    seen.asked_of_others += viz.asked_of_others
    return seen


@pytest.fixture
def after_a_run(
    viz: Viz, fresh: Fresh, project: Project, tmp_path_factory: pytest.TempPathFactory
) -> Viz:
    if not (project.path / "data").exists():
        finished = finished_project(tmp_path_factory)[0].path
        for name in ("data", ".viz"):
            shutil.copytree(finished / name, project.path / name)
    return viz


def test_draws_each_stage_as_a_box_from_the_faces_to_the_evaluation(fresh: Fresh) -> None:
    assert fresh.stages == STAGES
    assert {"faces", "hr_train", "lr_train", "srresnet", "srgan", "comparison"} <= set(fresh.names)
    assert "train_srresnet" not in fresh.names


def test_shows_the_layers_in_order(fresh: Fresh) -> None:
    assert fresh.layers == ["raw", "model_input", "models", "reporting"]


def test_works_before_the_first_run(fresh: Fresh) -> None:
    assert fresh.errors == []
    unwritten = {"hr_train", "scores", "evaluation", "comparison", "pretrain_curves"}
    assert not unwritten & set(fresh.previewed)


def test_asks_nothing_of_other_hosts_but_its_font(fresh: Fresh) -> None:
    assert [url for url in fresh.asked_of_others if not url.startswith(FONTS)] == []


def test_a_stage_opens_when_it_is_clicked(viz: Viz) -> None:
    viz.open()
    viz.node("pretrain").click()
    expect(viz.node("train_srresnet")).to_be_visible()
    expect(viz.node("plot_curves")).to_be_visible()
    expect(viz.node("pretrain")).to_have_count(0)


def test_previews_the_scores_as_a_table(after_a_run: Viz) -> None:
    after_a_run.open_panel("scores")
    after_a_run.panel.get_by_text("Expand preview").click()
    table = after_a_run.page.locator(".preview-table__large")
    expect(table).to_contain_text("psnr_y")
    for model in ("bicubic", "srresnet", "srgan"):
        expect(table.get_by_text(model, exact=True).first).to_be_visible()


@pytest.mark.parametrize("stage", ["pretrain", "train_gan"])
def test_previews_the_curves_of_a_training(after_a_run: Viz, stage: str) -> None:
    after_a_run.open_panel(f"{stage}_curves")
    expect(after_a_run.panel.locator(".js-plotly-plot .trace").first).to_be_visible()
    after_a_run.panel.get_by_text("Expand preview").click()
    chart = after_a_run.page.locator(".pipeline-metadata-modal .js-plotly-plot")
    lines = 4 if stage == "pretrain" else 9
    expect(chart.locator(".scatterlayer .trace")).to_have_count(lines)
    expect(chart.locator(".ytitle")).to_have_text("PSNR / dB")


@pytest.mark.parametrize("name", ["comparison", "hr_train", "lr_test"])
def test_previews_pictures_undistorted(after_a_run: Viz, name: str) -> None:
    after_a_run.open_panel(name)
    image = after_a_run.panel.locator("img.pipeline-metadata__plot-image")
    expect(image).to_be_visible()
    natural, shown = image.evaluate(
        "image => [image.naturalWidth / image.naturalHeight, image.width / image.height]"
    )
    assert natural > 0
    assert shown == pytest.approx(natural, rel=0.02)


def test_has_no_error_after_all_that(after_a_run: Viz) -> None:
    assert after_a_run.errors == []


# -- static site -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Viz]:
    project, _ = finished_project(tmp_path_factory)
    outcome = project.kedro("viz", "build", "--include-previews")
    assert (project.path / "build" / "api" / "main").is_file(), outcome.output
    handler = partial(QuietHandler, directory=str(project.path / "build"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.01,)).start()
        page = browser.new_page(viewport={"width": 1600, "height": 950})
        yield Viz(f"http://127.0.0.1:{server.server_port}", page)
        page.close()
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base's name)
        pass


def test_the_static_site_holds_every_node(site: Viz) -> None:
    for id_ in site.ids.values():
        assert isinstance(site.api(f"nodes/{id_}"), dict)


def test_the_static_site_opens_a_stage_and_shows_a_preview(site: Viz) -> None:
    site.open()
    site.node("evaluate").click()
    expect(site.node("draw_comparison")).to_be_visible()
    site.open_panel("comparison")
    expect(site.panel.locator("img.pipeline-metadata__plot-image")).to_be_visible()
    assert site.errors == [f"404 {site.address}/api/metadata"] * len(site.errors)  # not built
    assert [url for url in site.asked_of_others if not url.startswith(FONTS)] == []
