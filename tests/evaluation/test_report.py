import math
import re
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from playwright.sync_api import Browser, Page

from deepdepixelate import downscale, psnr_y, ssim_y, upscale
from deepdepixelate.data.sources import Split
from deepdepixelate.datasets import SampleFaces
from deepdepixelate.evaluation import figures
from deepdepixelate.evaluation.report import Example, choose_examples, render
from deepdepixelate.evaluation.strips import busiest_window

MINUS = "\N{MINUS SIGN}"
NAMES = [f"face {number}.png" for number in range(7)]
HOSTILE = (
    "<script>document.title='taken'</script>\"'><img src=https://example.org/x onerror=alert(1)>"
)


def sharpened(images: NDArray[np.uint8], percent: int) -> NDArray[np.uint8]:
    """What stands for a trained network: bicubic, crisper."""
    crisper = ImageFilter.UnsharpMask(radius=2, percent=percent, threshold=0)
    enlarged = upscale(images, 4)
    return np.stack([np.asarray(Image.fromarray(each).filter(crisper)) for each in enlarged])


@pytest.fixture(scope="module")
def pictures() -> dict[str, NDArray[np.uint8]]:
    """Crops of a photograph as faces: HR, LR and three enlargements of each."""
    photographs: dict[Split, list[str]] = {"train": [], "val": [], "test": ["astronaut.png"]}
    faces = SampleFaces(photographs=photographs, width=178, height=218, overlap=0.5).load()
    hr = np.stack(
        [
            np.asarray(Image.open(BytesIO(faces.read(name))))[1:217, 1:177]
            for name in faces.splits["test"][: len(NAMES)]
        ]
    )
    lr = downscale(hr, 4)
    return {
        "hr": hr,
        "lr": lr,
        "bicubic": upscale(lr, 4),
        "srresnet": sharpened(lr, 80),
        "srgan": sharpened(lr, 200),
    }


@pytest.fixture(scope="module")
def scores(pictures: Mapping[str, NDArray[np.uint8]]) -> pd.DataFrame:
    rows = []
    for model in ("bicubic", "srresnet", "srgan"):
        psnr = psnr_y(pictures[model], pictures["hr"], 4)
        ssim = ssim_y(pictures[model], pictures["hr"], 4)
        rows += [
            {
                "set": "test",
                "image": name,
                "model": model,
                "psnr_y": psnr[index],
                "ssim_y": ssim[index],
                "high_frequency_ratio": 0.1 * (index + 1),
                "st_lpips": 0.05 * (index + 1),
                "identity_distance": 0.1 * index if index else math.nan,
            }
            for index, name in enumerate(NAMES)
        ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def examples(pictures: Mapping[str, NDArray[np.uint8]], scores: pd.DataFrame) -> list[Example]:
    models = ("bicubic", "srresnet", "srgan")
    found = []
    for role, image in choose_examples(scores, of_each=1):
        index = NAMES.index(image)
        enlarged = {model: pictures[model][index] for model in models}
        found.append(Example(image, role, pictures["lr"][index], pictures["hr"][index], enlarged))
    return found


SPECTRA = pd.DataFrame(
    [
        {"set": "test", "model": model, "frequency": frequency, "power": level / (frequency + 0.01)}
        for model, level in (("hr", 100.0), ("bicubic", 5.0), ("srresnet", 10.0), ("srgan", 30.0))
        for frequency in np.linspace(0.004, 0.496, 64)
    ]
)


def history(stage: str) -> pd.DataFrame:
    updates = np.arange(50, 2050, 50)
    frame = pd.DataFrame(
        {
            "update": updates,
            "loss": 1 / updates,
            "learning_rate": 1e-4,
            "crops_per_second": 31.0,
            "val.psnr_y": np.where(updates % 500 == 0, 26 + updates / 2000, np.nan),
            "val.st_lpips": np.where(updates % 500 == 0, 1 / updates, np.nan),
        }
    )
    if stage == "train_gan":
        for name in ("content_loss", "adversarial_loss", "discriminator_loss"):
            frame[name] = 1 / updates
        frame["discriminator_on_hr"], frame["discriminator_on_sr"] = 0.7, 0.3
    return frame


HISTORIES = {stage: history(stage) for stage in ("pretrain", "train_gan")}
NO_HISTORIES = {stage: pd.DataFrame() for stage in ("pretrain", "train_gan")}
SETS: dict[str, Any] = {
    "test": {
        "images": 7,
        "models": {
            "bicubic": {
                "psnr_y": 27.1234,
                "ssim_y": 0.81234,
                "high_frequency_ratio": 0.061,
                "st_lpips": 0.3204,
                "identity_distance": 0.3791,
                "identity_lost": 0.25,
                "ci95": {
                    "psnr_y": [26.5, 27.75],
                    "ssim_y": [0.8, 0.82],
                    "st_lpips": [0.3, 0.34],
                },
            },
            "srresnet": {
                "psnr_y": 27.9,
                "ssim_y": 0.84,
                "high_frequency_ratio": 0.43,
                "ci95": {"psnr_y": None},
                "identical": 2,
            },
            "srgan": {"psnr_y": 26.9, "ssim_y": 0.79, "high_frequency_ratio": None, "ci95": None},
        },
        "paired": {
            "srresnet - bicubic": {
                "psnr_y": {"mean": 0.78, "ci95": [0.5, 1.06], "wins": 0.957},
                "ssim_y": {"mean": 0.0277, "ci95": [0.02, 0.03], "wins": 1.0},
                "st_lpips": {"mean": -0.19, "ci95": [-0.2, -0.18], "wins": 0.0},
            },
            "srgan - srresnet": {"psnr_y": {"mean": -1.0, "ci95": [-1.2, -0.8], "wins": 0.0}},
        },
        "faces_found": 6,
        "not_available": {"st_lpips": 2, "identity_distance": 1},
    },
    "set5": {
        "images": 4,
        "models": {"bicubic": {"psnr_y": 28.43, "ssim_y": 0.8113}},
        "paired": {},
        "skipped": [{"image": "butterfly.png", "reason": "it has one channel"}],
        "paper": {"bicubic": {"psnr_y": 28.43, "ssim_y": 0.8211}},
    },
}
EVALUATION: dict[str, Any] = {
    "protocol": {"channel": "Y of BT.601", "border": 4, "scale": 4},
    "provenance": {
        "mlflow_run_id": "0123456789abcdef",
        "git_commit": None,
        "versions": {"torch": "2.13.0"},
        "data": {"hr": "a" * 64, "lr": "b" * 64},
        "weights": {
            "srresnet": {
                "digest": "c" * 64,
                "fingerprint": {"settings": {"updates": 6000, "learning_rate": {"initial": 2e-3}}},
            }
        },
        "device": "cpu",
        "seconds": 12.34,
    },
    "sets": SETS,
    "identity": {"available": True},
}


def a_report(
    evaluation: Mapping[str, Any] | None = None,
    *,
    scores: pd.DataFrame,
    spectra: pd.DataFrame = SPECTRA,
    histories: Mapping[str, pd.DataFrame] = HISTORIES,
    examples: list[Example],
    title: str = "An evaluation",
) -> str:
    return render(
        EVALUATION if evaluation is None else evaluation,
        scores,
        spectra,
        histories,
        examples,
        title=title,
    )


class Visit:
    """A page from a file, and what the browser asked for and complained of."""

    def __init__(self, browser: Browser, path: Path, html: str, **settings: Any) -> None:
        path.write_text(html, encoding="utf-8")
        self.context = browser.new_context(**settings)
        self.page: Page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.address = path.as_uri()
        self.page.goto(self.address)
        self.page.wait_for_load_state("load")

    def assert_sound(self) -> None:
        """Nothing was asked of anybody, nothing failed, everything is seen, nothing sticks out."""
        asked = {url for url in self.requests if not url.startswith("data:")}
        assert asked == {self.address}
        assert self.complaints == []
        assert self.page.evaluate(
            "[...document.images].every(each => each.complete && each.naturalWidth > 0)"
        )
        assert self.page.evaluate(
            "[...document.querySelectorAll('svg.chart')].every(each => {"
            " const box = each.getBoundingClientRect();"
            " return box.width > 200 && box.height > 120 })"
        )
        assert self.page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )

    def table(self, caption: str) -> dict[str, dict[str, str]]:
        """The table of a caption: by its rows' names and then its columns'."""
        table = self.page.locator("table", has=self.page.locator("caption", has_text=caption)).first
        head = table.locator("thead th").all_inner_texts()
        rows: dict[str, dict[str, str]] = {}
        for row in table.locator("tbody tr").all():
            texts = row.locator("th, td").all_inner_texts()
            cells = [" ".join(text.split()).replace(MINUS, "-") for text in texts]
            rows[cells[0]] = dict(zip(head, cells, strict=True))
        return rows

    def text(self, selector: str = "body") -> str:
        return self.page.locator(selector).inner_text()


@pytest.fixture(scope="module")
def visit(
    browser: Browser,
    tmp_path_factory: pytest.TempPathFactory,
    scores: pd.DataFrame,
    examples: list[Example],
) -> Iterator[Visit]:
    path = tmp_path_factory.mktemp("report") / "report.html"
    html = a_report(scores=scores, examples=examples)
    visit = Visit(browser, path, html, viewport={"width": 1280, "height": 900})
    yield visit
    visit.context.close()


def test_opens_from_a_file_without_asking_anybody(visit: Visit) -> None:
    visit.assert_sound()
    assert visit.page.title() == "An evaluation"
    assert visit.page.locator("svg.chart").count() == 4 + 2 + 4 + 6
    assert "not evidence of anybody's identity" in visit.text()


def test_is_one_file_of_moderate_size(visit: Visit) -> None:
    content = visit.page.content()
    assert len(content) < 1_500_000
    assert not re.search(r"(src|href)=\"(?!data:|#)", content)


def test_every_mean_stands_with_its_interval_and_its_gain(visit: Visit) -> None:
    rows = visit.table("Test split, 7 images")
    assert list(rows) == ["bicubic", "SRResNet", "SRGAN"]
    assert rows["bicubic"]["PSNR"] == "27.12 dB [26.50, 27.75]"
    assert rows["bicubic"]["SSIM"] == "0.8123 [0.8000, 0.8200]"
    assert rows["bicubic"]["PSNR over bicubic"] == "baseline"
    assert rows["SRResNet"]["PSNR"] == "27.90 dB"
    assert rows["SRResNet"]["PSNR over bicubic"] == "+0.78 dB [+0.50, +1.06]"
    assert rows["SRResNet"]["High-frequency energy"] == "43 %"
    assert rows["SRGAN"]["PSNR over bicubic"] == "-0.22 dB"
    assert rows["SRGAN"]["High-frequency energy"] == "not available"
    assert rows["bicubic"]["ST-LPIPS"] == "0.320 [0.300, 0.340]"
    assert rows["SRGAN"]["ST-LPIPS"] == "not available"
    assert rows["bicubic"]["Identity distance"] == "0.379"
    assert rows["bicubic"]["Identity lost"] == "25.0 %"
    assert "6 faces were found." in visit.text("#results")
    assert "Not available for 2 of the images: too small for the network." in visit.text("#results")
    assert "different people are 0.85 apart" in visit.text("#reading")
    assert "SRResNet: 2 identical to the original" in visit.text("#results")


def test_the_papers_figures_stand_beside_ours_with_their_caveat(visit: Visit) -> None:
    rows = visit.table("Set5, 4 images")
    assert rows["bicubic"]["SSIM"] == "0.8113"
    assert rows["bicubic"]["SSIM in the paper"] == "0.8211"
    assert "SSIM that differs from ours" in visit.text("#results")
    assert "SSIM in the paper" not in visit.table("Test split, 7 images")["bicubic"]


def test_paired_differences_have_their_share_of_images(visit: Visit) -> None:
    rows = visit.table("Test split: one model against another")
    assert rows["SRResNet - bicubic"]["PSNR"] == "+0.78 dB [+0.50, +1.06]"
    assert rows["SRResNet - bicubic"]["Images of higher PSNR"] == "96 %"
    assert rows["SRGAN - SRResNet"]["PSNR"] == "-1.00 dB [-1.20, -0.80]"
    assert rows["SRResNet - bicubic"]["ST-LPIPS"] == "-0.190 [-0.200, -0.180]"
    assert "the lower one is the better one" in visit.text("#results")
    assert rows["SRGAN - SRResNet"]["SSIM"] == "not available"


def test_faces_show_every_picture_with_the_scores_of_its_row(
    visit: Visit, scores: pd.DataFrame, examples: list[Example]
) -> None:
    faces = visit.page.locator("article.face")
    assert faces.count() == len(examples) == 3
    table = scores.set_index(["image", "model"])["psnr_y"]
    for face, example in zip(faces.all(), examples, strict=True):
        titles = face.locator("h4").all_inner_texts()
        assert titles == ["LR input", "bicubic", "SRResNet", "SRGAN", "HR original"]
        figures = face.locator("figcaption").all_inner_texts()
        for caption, model in zip(figures[1:4], example.enlarged, strict=True):
            assert f"{table[example.image, model]:.2f}\N{NO-BREAK SPACE}dB" in caption
        gain = table[example.image, "srresnet"] - table[example.image, "bicubic"]
        assert f"{gain:+.2f}".replace("-", MINUS) in face.locator("h3").inner_text()
        sizes = face.locator("img").evaluate_all("all => all.map(each => each.naturalWidth)")
        assert sizes == [44, 12, 176, 48, 176, 48, 176, 48, 176, 48]
        assert all(face.locator("img").evaluate_all("all => all.map(each => each.alt)"))
        smoothing = face.locator("img").first.evaluate("e => getComputedStyle(e).imageRendering")
        assert smoothing == "pixelated"


def test_the_pictures_are_the_very_pixels(visit: Visit, examples: list[Example]) -> None:
    whole = visit.page.locator("article.face").first.locator("[data-key=srgan] img").first
    pixels = whole.evaluate(
        "image => { const canvas = document.createElement('canvas');"
        " [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];"
        " const context = canvas.getContext('2d'); context.drawImage(image, 0, 0);"
        " return [...context.getImageData(0, 0, canvas.width, canvas.height).data] }"
    )
    shown = np.array(pixels, dtype=np.uint8).reshape(216, 176, 4)[..., :3]
    assert np.array_equal(shown, examples[0].enlarged["srgan"])


def test_the_wipe_works_by_keyboard(visit: Visit) -> None:
    page = visit.page
    wipe = page.locator(".wipe")
    stage, slider = wipe.locator(".stage"), wipe.locator("input[type=range]")
    sources = page.locator("article.face").nth(1).locator("[data-key] .marked img")
    wipe.locator("select").nth(0).select_option(index=1)
    wipe.locator("select").nth(1).select_option(label="SRResNet")
    wipe.locator("select").nth(2).select_option(label="HR original")
    shown = wipe.locator("img").evaluate_all("all => all.map(each => each.src)")
    assert shown == [sources.nth(4).get_attribute("src"), sources.nth(2).get_attribute("src")]
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert stage.evaluate("each => each.style.getPropertyValue('--at')") == "53%"
    assert slider.get_attribute("aria-valuetext") == "53 % SRResNet"
    page.keyboard.press("Home")
    assert stage.evaluate("each => each.style.getPropertyValue('--at')") == "0%"
    assert visit.complaints == []


def test_failures_are_named(visit: Visit, scores: pd.DataFrame) -> None:
    psnr = scores.pivot(index="image", columns="model", values="psnr_y")
    gains = psnr["srgan"] - psnr["bicubic"]
    row = visit.table("Images whose PSNR is below that of bicubic")["Test split, SRGAN"]
    assert row["Images"].startswith(f"{(gains < 0).sum()} of 7")
    assert (gains < 0).sum() > 0
    assert row["The worst, at most 5"].startswith(f"{gains.idxmin()} (-{-gains.min():.2f}")
    assert row["The worst, at most 5"].count(".png") == min(5, int((gains < 0).sum()))
    assert visit.table("Images that were not scored")["Set5"]["Reason"] == "it has one channel"


def test_provenance_says_where_the_figures_come_from(visit: Visit) -> None:
    visit.page.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
    said = visit.text("#provenance")
    for part in ("0123456789abcdef", "a" * 64, "c" * 64, "learning_rate.initial", "12.3 s"):
        assert part in said
    assert re.search(r"git_commit\s+not available", said)


def test_a_keyboard_reaches_every_section_and_wide_table(visit: Visit) -> None:
    assert visit.page.evaluate(
        "[...document.querySelectorAll('nav a')].every(each => document.querySelector(each.hash))"
    )
    assert visit.page.evaluate(
        "[...document.querySelectorAll('table')].every(each => each.caption.textContent"
        " && each.closest('[tabindex=\"0\"]') && each.querySelector('th[scope=row]'))"
    )
    assert visit.page.evaluate(
        "new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size"
        " === document.querySelectorAll('[id]').length"
    )


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_is_legible_at_any_width_in_light_and_dark(
    browser: Browser, visit: Visit, width: int, scheme: Any
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.goto(visit.address)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colors = page.evaluate(
        """() => [...document.querySelectorAll(
             'h1, h2, p, li, a, th, td, caption, small, summary, dt, dd, figcaption, label, text')]
           .filter(each => each.textContent.trim()).map(each => {
             let behind = each;
             while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)')
               behind = behind.parentElement;
             const style = getComputedStyle(each);
             return [each.tagName === 'text' ? style.fill : style.color,
                     getComputedStyle(behind).backgroundColor] })"""
    )
    context.close()
    assert {contrast(*pair) >= 4.5 for pair in {tuple(pair) for pair in colors}} == {True}
    page_is_dark = luminance(colors[0][1]) < 0.2
    assert page_is_dark == (scheme == "dark")


def luminance(color: str) -> float:
    """Relative luminance as in WCAG 2."""
    channels = [int(each) / 255 for each in re.findall(r"\d+", color)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(first: str, second: str) -> float:
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_hostile_names_are_text(
    browser: Browser, tmp_path: Path, scores: pd.DataFrame, examples: list[Example]
) -> None:
    hostile = scores.replace({"image": {NAMES[0]: HOSTILE}, "model": {"srgan": HOSTILE}})
    first = examples[0]
    face = Example(HOSTILE, HOSTILE, first.lr, first.hr, {HOSTILE: first.hr})
    evaluation = {
        "protocol": {HOSTILE: HOSTILE},
        "provenance": {HOSTILE: {HOSTILE: HOSTILE}, "weights": {HOSTILE: {"digest": HOSTILE}}},
        "sets": {
            "test": {"images": 7, "models": {HOSTILE: {"psnr_y": 1.0}}},
            HOSTILE: {
                "models": {"bicubic": {}},
                "skipped": [{"image": HOSTILE, "reason": HOSTILE}],
            },
        },
        "identity": {"available": False, "reason": HOSTILE},
    }
    renamed = SPECTRA.replace({"set": {"test": HOSTILE}, "model": {"srgan": HOSTILE}})
    html = a_report(evaluation, scores=hostile, spectra=renamed, examples=[face], title=HOSTILE)
    assert "<script>document" not in html
    assert "<img src=https" not in html
    visit = Visit(browser, tmp_path / "report.html", html, viewport={"width": 400, "height": 800})
    visit.assert_sound()
    assert visit.page.title() == HOSTILE
    assert visit.page.locator("script").count() == 1
    assert HOSTILE in visit.text("article.face")
    visit.context.close()


def test_even_a_script_that_came_in_would_not_run(
    browser: Browser, tmp_path: Path, scores: pd.DataFrame
) -> None:
    html = a_report(scores=scores, examples=[])
    broken = html.replace("</main>", "<script>document.title = 'taken'</script></main>")
    visit = Visit(browser, tmp_path / "report.html", broken)
    assert visit.page.title() == "An evaluation"
    visit.context.close()


def test_what_is_missing_is_said_and_nothing_is_made_up(
    browser: Browser, tmp_path: Path, scores: pd.DataFrame
) -> None:
    html = a_report(
        {"sets": {"test": {"models": {"bicubic": None, "srresnet": {"psnr_y": None}}}}},
        scores=scores[["set", "image", "model", "psnr_y", "ssim_y"]],
        spectra=pd.DataFrame(),
        histories={},
        examples=[],
    )
    visit = Visit(browser, tmp_path / "report.html", html)
    visit.assert_sound()
    rows = visit.table("Test split")
    assert set(rows["SRResNet"].values()) == {"SRResNet", "not available"}
    for sentence in (
        "no record of the training beside the weights",
        "ST-LPIPS: not available, for the images are too small",
        "Identity: not available (it was not measured).",
        "no power spectra were measured",
        "no face could be ranked",
        "The protocol is not available",
        "No confidence intervals: not available",
        "High-frequency energy: not available",
    ):
        assert sentence in visit.text()
    assert not visit.page.locator(".wipe").is_visible()
    visit.context.close()


def test_a_loss_below_zero_is_drawn_too() -> None:
    negative = history("pretrain").assign(loss=lambda frame: -29 - frame["update"] / 2000)
    charts = figures.training("pretrain", negative)["charts"]
    assert charts[0]["heading"] == "Loss"
    assert re.search(r">[-\u2212]29\.\d", charts[0]["svg"])


def test_one_image_and_values_that_are_no_numbers(
    browser: Browser, tmp_path: Path, scores: pd.DataFrame, examples: list[Example]
) -> None:
    name = examples[0].image
    one = scores[scores["image"] == name].copy()
    one["st_lpips"] = [0.4, math.nan, 0.2]
    one["psnr_y"] = [30.0, math.inf, math.nan]
    entry = {
        "images": 1,
        "faces_found": 0,
        "models": {
            "bicubic": {"psnr_y": 30.0, "ssim_y": 0.9, "st_lpips": 0.4, "ci95": {"psnr_y": None}},
            "srresnet": {"psnr_y": math.inf, "ssim_y": 1.0, "st_lpips": math.nan, "identical": 1},
            "srgan": {"psnr_y": None, "ssim_y": math.nan},
        },
        "paired": {"srresnet - bicubic": {"psnr_y": {"mean": None, "ci95": None, "wins": 1.0}}},
    }
    html = a_report(
        {"sets": {"test": entry}, "identity": {"available": True}},
        scores=one,
        histories=NO_HISTORIES,
        examples=examples[:1],
    )
    visit = Visit(browser, tmp_path / "report.html", html)
    visit.assert_sound()
    rows = visit.table("Test split, 1 image")
    assert rows["SRResNet"]["PSNR"] == "∞ dB"
    assert rows["bicubic"]["ST-LPIPS"] == "0.400"
    assert rows["SRResNet"]["ST-LPIPS"] == rows["SRGAN"]["SSIM"] == "not available"
    assert "ST-LPIPS 0.200" in visit.text("article.face")
    assert "Identity: not available (no face was found)." in visit.text()
    assert "nan" not in visit.text().lower().split()
    visit.context.close()


def test_two_thousand_faces_make_no_larger_page(scores: pd.DataFrame) -> None:
    random = np.random.default_rng(0)
    many = pd.DataFrame(
        {
            "set": "test",
            "image": np.repeat([f"{number:06d}.jpg" for number in range(2000)], 3),
            "model": ["bicubic", "srresnet", "srgan"] * 2000,
            "psnr_y": random.normal(28, 2, 6000),
            "ssim_y": random.uniform(0.7, 0.9, 6000),
        }
    )
    few = a_report(scores=scores, examples=[])
    assert len(a_report(scores=many, examples=[])) < len(few) + 20_000


def test_the_same_evaluation_makes_the_same_page(
    scores: pd.DataFrame, examples: list[Example]
) -> None:
    first = a_report(scores=scores, examples=examples[:1])
    assert a_report(scores=scores, examples=examples[:1]) == first


def table_of_gains(gains: list[float]) -> pd.DataFrame:
    """Scores whose images, named a, b, c and so on, have these gains over bicubic."""
    rows = []
    for index, gain in enumerate(gains):
        for model, psnr in (("bicubic", 20.0), ("srgan", 99.0), ("srresnet", 20.0 + gain)):
            rows.append(
                {"set": "test", "image": "abcdefghij"[index], "model": model, "psnr_y": psnr}
            )
    return pd.DataFrame(rows, columns=["set", "image", "model", "psnr_y"])


@pytest.mark.parametrize(
    ("gains", "of_each", "best", "median", "worst"),
    [
        ([], 2, "", "", ""),
        ([1], 2, "", "a", ""),
        ([1, 2], 2, "b", "", "a"),
        ([1, 2, 3], 2, "c", "b", "a"),
        ([1, 2, 3, 4], 2, "d", "cb", "a"),
        ([1, 2, 3, 4, 5], 2, "ed", "c", "ba"),
        ([1, 2, 3, 4, 5, 6], 2, "fe", "dc", "ba"),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], 1, "i", "e", "a"),
        ([0, 0, 0, 0, 0], 1, "a", "c", "e"),
        ([2, 1, 2, 1, 2], 1, "a", "e", "d"),
        ([5, math.nan, 1, math.inf, 3], 1, "a", "e", "c"),
        ([1, 2, 3], 0, "", "", ""),
    ],
)
def test_examples_are_the_best_the_median_and_the_worst(
    gains: list[float], of_each: int, best: str, median: str, worst: str
) -> None:
    expected = [
        (role, image)
        for role, images in (("best", best), ("median", median), ("worst", worst))
        for image in images
    ]
    chosen = choose_examples(table_of_gains(gains), of_each=of_each)
    assert chosen == expected
    assert len({image for _, image in chosen}) == len(chosen)


def test_examples_are_of_the_test_split_and_scored_by_both_models() -> None:
    of_test = table_of_gains([1.0, 2.0])
    elsewhere = table_of_gains([0.0, 0.0, 9.0]).assign(set="set5")
    half_scored = of_test[(of_test["image"] != "a") | (of_test["model"] != "srresnet")]
    assert choose_examples(pd.concat([elsewhere, of_test]), of_each=1) == [
        ("best", "b"),
        ("worst", "a"),
    ]
    assert choose_examples(half_scored, of_each=1) == [("median", "b")]
    assert choose_examples(elsewhere, of_each=1) == []


def test_the_magnified_part_is_where_lr_lost_most() -> None:
    hr = np.full((96, 128, 3), 128, dtype=np.uint8)
    checks = np.indices((40, 40)).sum(axis=0) % 2 * 255
    hr[44:84, 68:108] = checks[..., None]
    example = Example("a", "best", downscale(hr[None], 4)[0], hr, {})
    window = busiest_window(example)
    assert window.side == 48
    assert window.top % 4 == window.left % 4 == 0
    assert 36 <= window.top <= 44
    assert 60 <= window.left <= 68
    assert window.cut(example.lr, 4).shape == (12, 12, 3)
    small = Example("a", "best", hr[:5, :9], hr[:20, :36], {})
    assert busiest_window(small).cut(small.hr).shape == (20, 20, 3)
