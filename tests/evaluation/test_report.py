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
from plotly.offline import get_plotlyjs

from deepdepixelate import downscale, psnr_y, ssim_y, upscale
from deepdepixelate.data.sources import Split
from deepdepixelate.datasets import SampleFaces
from deepdepixelate.evaluation.pictures import choose_examples
from deepdepixelate.evaluation.report import render
from deepdepixelate.evaluation.scoring import EnlargedImage
from deepdepixelate.evaluation.statistics import summarise

Examples = dict[str, list[EnlargedImage]]

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
            np.asarray(Image.open(BytesIO(faces.images.read(name))))[1:217, 1:177]
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
def examples(pictures: Mapping[str, NDArray[np.uint8]], scores: pd.DataFrame) -> Examples:
    def example(image: str) -> EnlargedImage:
        index = NAMES.index(image)
        by_model = {model: pictures[model][index] for model in ("bicubic", "srresnet", "srgan")}
        return EnlargedImage(image, pictures["lr"][index], pictures["hr"][index], by_model)

    chosen = choose_examples(scores, of_each=1)
    return {role: [example(image) for image in images] for role, images in chosen.items()}


NO_EXAMPLES: Examples = {"best": [], "median": [], "worst": []}
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
                "st_lpips": 0.13,
                "identity_distance": 0.3,
                "identity_lost": 0.0,
                "ci95": {"psnr_y": None},
                "identical": 2,
            },
            "srgan": {
                "psnr_y": 26.9,
                "ssim_y": 0.79,
                "high_frequency_ratio": None,
                "st_lpips": None,
                "identity_distance": None,
                "ci95": {"psnr_y": None},
            },
        },
        "paired": {
            "srresnet - bicubic": {
                "psnr_y": {"mean": 0.78, "ci95": [0.5, 1.06], "wins": 0.957},
                "ssim_y": {"mean": 0.0277, "ci95": [0.02, 0.03], "wins": 1.0},
                "st_lpips": {"mean": -0.19, "ci95": [-0.2, -0.18], "wins": 0.0},
            },
            "srgan - srresnet": {
                "psnr_y": {"mean": -1.0, "ci95": [-1.2, -0.8], "wins": 0.0},
                "ssim_y": {"mean": None, "ci95": None, "wins": None},
                "st_lpips": {"mean": -0.1, "ci95": None, "wins": 0.5},
            },
        },
        "faces_found": 6,
        "not_available": {"st_lpips": 2, "identity_distance": 1},
    },
    "jpeg_30": {
        "images": 3,
        "models": {
            "bicubic": {"psnr_y": 24.814, "ssim_y": 0.7, "st_lpips": 0.3921, "ci95": {}},
            "srgan": {"psnr_y": 24.186, "ssim_y": 0.6, "st_lpips": None, "ci95": {}},
        },
        "paired": {},
    },
    "set5": {
        "images": 4,
        "models": {"bicubic": {"psnr_y": 28.43, "ssim_y": 0.8113, "ci95": {}}},
        "paired": {},
        "skipped": [{"image": "butterfly.png", "reason": "it has one channel"}],
        "paper": {"bicubic": {"psnr_y": 28.43, "ssim_y": 0.8211}},
    },
}
EVALUATION: dict[str, Any] = {
    "protocol": {
        "channel": "Y of BT.601",
        "border": 4,
        "scale": 4,
        "degraded_sets": {
            "jpeg_30": {
                "degradation": "bicubic; JPEG quality 30",
                "images": "3 of 7, spread evenly",
            }
        },
    },
    "provenance": {
        "mlflow_run_id": "0123456789abcdef",
        "git_commit": None,
        "versions": {"torch": "2.13.0"},
        "data": {"hr": "a" * 64, "lr": "b" * 64},
        "weights": {
            "srresnet": {
                "digest": "c" * 64,
                "fingerprint": {"settings": {"updates": 6000, "learning_rate": {"initial": 2e-3}}},
                "trained_from": [{"digest": "d" * 64}, {"digest": "e" * 64, "seed": 3}],
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
    spectra: pd.DataFrame | None = None,
    histories: Mapping[str, pd.DataFrame] = HISTORIES,
    examples: Examples,
    title: str = "An evaluation",
) -> str:
    evaluation = EVALUATION if evaluation is None else evaluation
    if spectra is None:  # every set has some
        spectra = pd.concat([SPECTRA.assign(set=name) for name in evaluation["sets"]])
    return render(
        evaluation,
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
            "[...document.querySelectorAll('.chart')].every(each => {"
            " const box = each.querySelector('.main-svg').getBoundingClientRect();"
            " return box.width > 200 && box.height > 120 && each.ariaLabel })"
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
    examples: Examples,
) -> Iterator[Visit]:
    path = tmp_path_factory.mktemp("report") / "report.html"
    html = a_report(scores=scores, examples=examples)
    visit = Visit(browser, path, html, viewport={"width": 1280, "height": 900})
    yield visit
    visit.context.close()


def test_opens_from_a_file_without_asking_anybody(visit: Visit) -> None:
    visit.assert_sound()
    assert visit.page.title() == "An evaluation"
    histograms, spectra, trainings = 4, 2 * 2, 2
    assert visit.page.locator(".chart").count() == histograms + spectra + trainings
    assert "not evidence of anybody's identity" in visit.text()


def test_is_one_file_of_moderate_size(scores: pd.DataFrame, examples: Examples) -> None:
    html = a_report(scores=scores, examples=examples)
    assert html.count(get_plotlyjs()) == 1
    own = html.replace(get_plotlyjs(), "")
    assert len(own) < 1_500_000
    assert not re.search(r"(src|href)=\"(?!data:|#)", own)


def test_every_mean_stands_with_its_interval(visit: Visit) -> None:
    rows = visit.table("Test split, 7 images")
    assert list(rows) == ["bicubic", "SRResNet", "SRGAN"]
    assert rows["bicubic"]["PSNR"] == "27.12 dB [26.50, 27.75]"
    assert rows["bicubic"]["SSIM"] == "0.8123 [0.8000, 0.8200]"
    assert rows["SRResNet"]["PSNR"] == "27.90 dB"
    assert rows["SRResNet"]["High-frequency energy"] == "43 %"
    assert rows["SRGAN"]["High-frequency energy"] == "not available"
    assert rows["bicubic"]["ST-LPIPS"] == "0.320 [0.300, 0.340]"
    assert rows["SRGAN"]["ST-LPIPS"] == "not available"
    assert rows["bicubic"]["Identity distance"] == "0.379"
    assert rows["bicubic"]["Identity lost"] == "25.0 %"
    assert "6 faces were found." in visit.text("#results")
    assert "Not available for 2 of the images, which are too small" in visit.text("#results")
    assert "different people are 0.85 apart" in visit.text("#reading")
    assert "SRResNet: 2 identical to the original" in visit.text("#results")


def test_the_papers_figures_stand_beside_ours_with_their_caveat(visit: Visit) -> None:
    rows = visit.table("Set5, 4 images")
    assert rows["bicubic"]["SSIM"] == "0.8113"
    assert rows["bicubic"]["SSIM in the paper"] == "0.8211"
    assert "do not compare SSIM with it" in visit.text("#results")
    assert "SSIM in the paper" not in visit.table("Test split, 7 images")["bicubic"]


def test_degraded_sets_share_one_table(visit: Visit) -> None:
    section = visit.page.locator("#degraded")
    assert section.locator("thead th").all_inner_texts() == [
        "ST-LPIPS", "PSNR / dB", "Set", *["bicubic", "SRGAN"] * 2
    ]  # fmt: skip
    row = section.locator("tbody tr").locator("th, td").all_inner_texts()
    assert row[0].split("\n") == ["jpeg_30", "bicubic; JPEG quality 30"]
    assert row[1:] == ["0.392", "not available", "24.81", "24.19"]
    assert "3 of 7, spread evenly" in section.inner_text()
    for other in ("#results", "#distributions", "#detail", "#failures"):
        assert "jpeg_30" not in visit.text(other)


def test_paired_differences_have_their_share_of_images(visit: Visit) -> None:
    rows = visit.table("Test split: differences between models")
    assert rows["SRResNet - bicubic"]["PSNR"] == "+0.78 dB [+0.50, +1.06]"
    assert rows["SRResNet - bicubic"]["Images with higher PSNR"] == "96 %"
    assert rows["SRGAN - SRResNet"]["PSNR"] == "-1.00 dB [-1.20, -0.80]"
    assert rows["SRResNet - bicubic"]["ST-LPIPS"] == "-0.190 [-0.200, -0.180]"
    assert "lower for ST-LPIPS and identity distance" in visit.text("#results")
    assert rows["SRGAN - SRResNet"]["SSIM"] == "not available"


def test_faces_show_every_picture_with_the_scores_of_its_row(
    visit: Visit, scores: pd.DataFrame, examples: Examples
) -> None:
    faces = visit.page.locator("article.face")
    shown = [example for role in examples.values() for example in role]
    assert faces.count() == len(shown) == 3
    table = scores.set_index(["image", "model"])["psnr_y"]
    for face, example in zip(faces.all(), shown, strict=True):
        titles = face.locator("h4").all_inner_texts()
        assert titles == ["LR input", "bicubic", "SRResNet", "SRGAN", "HR original"]
        figures = face.locator("figcaption").all_inner_texts()
        for caption, model in zip(figures[1:4], example.by_model, strict=True):
            assert f"{table[example.image, model]:.2f}\N{NO-BREAK SPACE}dB" in caption
        gain = table[example.image, "srresnet"] - table[example.image, "bicubic"]
        assert f"{gain:+.2f}".replace("-", MINUS) in face.locator("h3").inner_text()
        sizes = face.locator("img").evaluate_all("all => all.map(each => each.naturalWidth)")
        assert sizes == [44, 12, 176, 48, 176, 48, 176, 48, 176, 48]
        assert all(face.locator("img").evaluate_all("all => all.map(each => each.alt)"))
        smoothing = face.locator("img").first.evaluate("e => getComputedStyle(e).imageRendering")
        assert smoothing == "pixelated"


def test_the_pictures_are_the_very_pixels(visit: Visit, examples: Examples) -> None:
    whole = visit.page.locator("article.face").first.locator("[data-key=srgan] img").first
    pixels = whole.evaluate(
        "image => { const canvas = document.createElement('canvas');"
        " [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];"
        " const context = canvas.getContext('2d'); context.drawImage(image, 0, 0);"
        " return [...context.getImageData(0, 0, canvas.width, canvas.height).data] }"
    )
    shown = np.array(pixels, dtype=np.uint8).reshape(216, 176, 4)[..., :3]
    assert np.array_equal(shown, examples["best"][0].by_model["srgan"])


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
    row = visit.table("Images with a PSNR below bicubic")["Test split, SRGAN"]
    assert row["Images"].startswith(f"{(gains < 0).sum()} of 7")
    assert (gains < 0).sum() > 0
    assert row["The worst, at most 5"].startswith(f"{gains.idxmin()} (-{-gains.min():.2f}")
    assert row["The worst, at most 5"].count(".png") == min(5, int((gains < 0).sum()))
    assert visit.table("Set5: images that were not scored") == {
        "butterfly.png": {"Image": "butterfly.png", "Reason": "it has one channel"}
    }


def test_provenance_says_where_the_figures_come_from(visit: Visit) -> None:
    visit.page.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
    said = visit.text("#provenance")
    for part in ("0123456789abcdef", "a" * 64, "c" * 64, "learning_rate.initial", "12.34"):
        assert part in said
    assert re.search(r"git_commit\s+not available", said)
    assert re.search(r"trained_from\.2\.seed\s+3", said)


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
    browser: Browser, tmp_path: Path, scores: pd.DataFrame, examples: Examples
) -> None:
    hostile = scores.replace({"image": {NAMES[0]: HOSTILE}, "model": {"srgan": HOSTILE}})
    hostile = pd.concat([hostile, hostile.assign(set=HOSTILE)])
    first = examples["best"][0]
    sets = summarise(hostile, 4)
    sets[HOSTILE]["skipped"] = [{"image": HOSTILE, "reason": HOSTILE}]
    evaluation = {
        "protocol": {HOSTILE: HOSTILE, "scale": 4},
        "provenance": {
            HOSTILE: {HOSTILE: HOSTILE},
            "data": {HOSTILE: HOSTILE},
            "weights": {HOSTILE: {"digest": HOSTILE}},
        },
        "sets": sets,
        "identity": {"available": False, "reason": HOSTILE},
    }
    face = EnlargedImage(HOSTILE, first.lr, first.hr, {HOSTILE: first.hr})
    spectra = SPECTRA.replace({"model": {"srgan": HOSTILE}})
    html = a_report(
        evaluation,
        scores=hostile,
        spectra=pd.concat([spectra, spectra.assign(set=HOSTILE)]),
        examples={HOSTILE: [face]},
        title=HOSTILE,
    )
    assert "<script>document" not in html
    assert "<img src=https" not in html
    visit = Visit(browser, tmp_path / "report.html", html, viewport={"width": 400, "height": 800})
    visit.assert_sound()
    assert visit.page.title() == HOSTILE
    assert visit.page.locator("script").count() == 2
    legends = visit.page.locator(".legendtext").all_text_contents()
    assert HOSTILE in legends, legends
    assert HOSTILE in visit.text("article.face")
    visit.context.close()


def test_even_a_script_that_came_in_would_not_run(
    browser: Browser, tmp_path: Path, scores: pd.DataFrame
) -> None:
    html = a_report(scores=scores, examples=NO_EXAMPLES)
    broken = html.replace("</main>", "<script>document.title = 'taken'</script></main>")
    visit = Visit(browser, tmp_path / "report.html", broken)
    assert visit.page.title() == "An evaluation"
    visit.context.close()


def test_missing_values_are_shown_as_not_available(
    browser: Browser, tmp_path: Path, scores: pd.DataFrame, examples: Examples
) -> None:
    """One image, identical for one model, too small for ST-LPIPS and without detail."""
    name = examples["best"][0].image
    one = scores[scores["image"] == name].drop(columns="identity_distance")
    one = one.assign(psnr_y=[30.0, math.inf, 29.0], high_frequency_ratio=math.nan)
    one["st_lpips"] = math.nan
    evaluation = EVALUATION | {
        "sets": summarise(one, 4),
        "identity": {"available": False, "reason": "not installed"},
    }
    html = a_report(
        evaluation, scores=one, histories=NO_HISTORIES, examples={"best": examples["best"]}
    )
    visit = Visit(browser, tmp_path / "report.html", html)
    visit.assert_sound()
    rows = visit.table("Test split, 1 image")
    assert rows["bicubic"]["PSNR"] == "30.00 dB"
    assert rows["SRResNet"]["PSNR"] == "not available"
    assert "ST-LPIPS" not in rows["bicubic"]
    assert "∞\N{NO-BREAK SPACE}dB" in visit.text("article.face")
    for sentence in (
        "the weights have no training history",
        "ST-LPIPS: not available, because the images are too small",
        "Identity: not available (not installed).",
        "No confidence intervals: they need at least two images",
        "High-frequency energy: not available",
        "SRResNet: 1 identical to the original",
        "there are no finite values to draw",
        "No image was skipped",
    ):
        assert sentence in visit.text()
    assert "Degraded images" not in visit.text()
    assert "nan" not in visit.text().lower().split()
    visit.context.close()


def test_no_face_can_be_shown_without_a_finite_gain(
    browser: Browser, tmp_path: Path, scores: pd.DataFrame
) -> None:
    html = a_report(scores=scores, examples=NO_EXAMPLES)
    visit = Visit(browser, tmp_path / "report.html", html)
    assert "no test image has a finite PSNR gain" in visit.text("#faces")
    assert not visit.page.locator(".wipe").is_visible()
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
    few = a_report(scores=scores, examples=NO_EXAMPLES)
    assert len(a_report(scores=many, examples=NO_EXAMPLES)) < len(few) + 20_000


def test_the_same_evaluation_makes_the_same_page(scores: pd.DataFrame, examples: Examples) -> None:
    first = a_report(scores=scores, examples=examples)
    assert a_report(scores=scores, examples=examples) == first
