"""The commands for which the installed package is enough: no Kedro project, and no Kedro."""

import os
from pathlib import Path
from typing import Any, get_args

import click

from deepdepixelate.console import ReadableErrors
from deepdepixelate.errors import UserError
from deepdepixelate.models import TILE
from deepdepixelate.photographs import MEGAPIXELS, QUALITY, ZOOM_MEGAPIXELS, FormatName


class _UserPath(click.Path):
    """``~`` is the home folder also where a shell leaves it: in quotes, and in --output=~/faces."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return Path(str(super().convert(os.path.expanduser(value), param, ctx)))  # noqa: PTH111


@click.group(name="deepdepixelate")
def commands() -> None:
    """Enlarge photographs."""


@commands.command(cls=ReadableErrors)
@click.argument("photographs", nargs=-1, required=True, type=_UserPath())
@click.option("-o", "--output", required=True, type=_UserPath(), help="Folder.")
@click.option("--model", default="srgan", show_default=True, help="srgan, srresnet or a file.")
@click.option("--overwrite", is_flag=True, help="Replace files that are there already.")
@click.option(
    "--format", "form", default="png", show_default=True, type=click.Choice(get_args(FormatName))
)
@click.option("--quality", default=QUALITY, show_default=True, type=click.IntRange(1, 100))
@click.option("--strip-metadata", is_flag=True, help="Leave out EXIF and resolution.")
@click.option("--self-ensemble", is_flag=True, help="Mean over the mirror image: twice the work.")
@click.option("--tile", default=TILE, show_default=True, type=click.IntRange(min=16))
@click.option("--max-megapixels", default=MEGAPIXELS, show_default=True, help="Refuse larger ones.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps.")
@click.option("--precision", default="auto", type=click.Choice(["auto", "bf16", "fp32"]))
def enhance(
    photographs: tuple[Path, ...],
    output: Path,
    model: str,
    overwrite: bool,
    form: FormatName,
    quality: int,
    strip_metadata: bool,
    self_ensemble: bool,
    tile: int,
    max_megapixels: float,
    device: str,
    precision: str,
) -> None:
    """Enlarge PHOTOGRAPHS (files, or folders with those below them); needs no project.

    An enlarged face is a plausible face, not evidence of anybody's identity.
    """
    from deepdepixelate.photographs.enhance import enhance as enhance_photographs

    enhance_photographs(
        photographs,
        output,
        model=model,
        format=form,
        quality=quality,
        strip_metadata=strip_metadata,
        overwrite=overwrite,
        max_pixels=int(max_megapixels * 1e6),
        tile=tile,
        device=device,
        precision=precision,
        self_ensemble=self_ensemble,
    )


@commands.command(cls=ReadableErrors)
@click.argument("output", type=_UserPath(dir_okay=False))
@click.option("--format", type=click.Choice(["onnx"]), default="onnx", expose_value=False)
@click.option("--model", default="srgan", show_default=True, help="srgan, srresnet or a file.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there already.")
def export(output: Path, model: str, overwrite: bool) -> None:
    """Write a generator to OUTPUT for another runtime."""
    from deepdepixelate.models.export import export_onnx
    from deepdepixelate.models.pretrained import find_generator

    try:
        if output.exists() and not overwrite:
            raise UserError(f"{output} is there already and was not overwritten (see --overwrite).")
        export_onnx(find_generator(model), output)
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror or error}.") from error
    click.echo(output)


@commands.command(cls=ReadableErrors)
@click.option("--model", "models", multiple=True, help="srgan, srresnet or a file; repeatable.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(1, 65535), help="By default a free one from 7860 on.")
@click.option("--browser/--no-browser", default=True, help="Open the page in a browser.")
@click.option("--max-megapixels", default=ZOOM_MEGAPIXELS, show_default=True, help="Of the box.")
@click.option("--tile", default=TILE, show_default=True, type=click.IntRange(min=16))
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps.")
def demo(
    models: tuple[str, ...],
    host: str,
    port: int | None,
    browser: bool,
    max_megapixels: float,
    tile: int,
    device: str,
) -> None:
    """Serve a page to zoom into photographs and enhance them, until Ctrl-C.

    It works offline, and is for this computer only unless --host says otherwise.
    """
    from threading import Event

    from deepdepixelate.models.pretrained import NAMES
    from deepdepixelate.photographs.demo.page import serving

    with serving(
        host=host,
        port=port,
        models=models or NAMES,
        device=device,
        tile=tile,
        max_pixels=int(max_megapixels * 1e6),
        open_browser=browser,
    ) as address:
        click.echo(f"Zoom and enhance: {address} (Ctrl-C ends it)")
        if host not in ("localhost", "::1") and not host.startswith("127."):
            click.echo("Whoever reaches this address can use the page.", err=True)
        Event().wait()
