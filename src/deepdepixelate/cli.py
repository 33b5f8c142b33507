"""The commands of ``deepdepixelate``; Kedro adds them, ``run`` above all, to ``kedro``.

Kedro, torch and gradio are imported by the commands that need them, so that ``--help`` is quick.
"""

import math
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import click

from deepdepixelate import __version__
from deepdepixelate.errors import UserError
from deepdepixelate.models import TILE
from deepdepixelate.photographs import AUTO, MEGAPIXELS, QUALITY, ZOOM_MEGAPIXELS, FormatName
from deepdepixelate.readable_errors import ReadableErrors


class _UserPath(click.Path):
    """Expands ``~`` also where the shell does not: in quotes, and in ``--output=~/faces``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return Path(str(super().convert(os.path.expanduser(value), param, ctx)))  # noqa: PTH111


def _as_pixels(ctx: click.Context, option: click.Parameter, megapixels: float) -> int:
    if not 0 < megapixels < math.inf:
        raise click.BadParameter(f"{megapixels} is not a positive number", ctx, option)
    return int(megapixels * 1e6)


def _resolvable(ctx: click.Context, option: click.Parameter, host: str) -> str:
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        raise click.BadParameter(f"{host}: {error.strerror or error}", ctx, option) from error
    return host


def _max_megapixels(
    default: float, text: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    names = ("--max-megapixels", "max_pixels")
    return click.option(*names, default=default, show_default=True, callback=_as_pixels, help=text)


MODEL = "srgan, srresnet, photo, a .safetensors file, or a registered model (models:/NAME@latest)."
device_option = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps."
)
tile_option = click.option(
    "--tile", default=TILE, show_default=True, type=click.IntRange(min=16), help="Side of tiles."
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace existing files.")


def _downloaded(model: str) -> str:
    """The file of a registered model, which is removed when the command ends; or the model."""
    if not model.startswith("models:/"):
        return model
    load_settings()
    from deepdepixelate.tracking.registry import download
    from deepdepixelate.tracking.store import ProjectStore

    ProjectStore(Path.cwd()).use()
    folder = click.get_current_context().with_resource(TemporaryDirectory())
    return str(download(model, Path(folder)))


class _Commands(click.Group):
    command_class = ReadableErrors


@click.group(name="deepdepixelate", cls=_Commands)
@click.version_option(__version__)
def cli() -> None:
    """Enlarge photographs of faces, and train the networks that do it."""


@cli.command()
@click.argument("photographs", nargs=-1, required=True, type=_UserPath())
@click.option(
    *("-o", "--output"),
    default="enhanced",
    show_default=True,
    type=_UserPath(),
    help="Folder for the results. Those that are already there are kept.",
)
@click.option(
    "--model",
    default=AUTO,
    show_default=True,
    help=f"{MODEL} auto: photo for files with lossy compression (such as JPEG) and for small faces "
    "(with --faces or --face-files), srgan for the rest.",
)
@click.option(
    "--faces",
    is_flag=True,
    help="Find the faces, and enlarge small ones separately. Needs the extra `identity`.",
)
@click.option(
    "--face-files",
    is_flag=True,
    help="Write each face to a file of its own, instead of the photograph. Needs the same extra.",
)
@overwrite_option
@click.option(
    "--format", "form", default="png", show_default=True, type=click.Choice(get_args(FormatName))
)
@click.option("--quality", default=QUALITY, show_default=True, type=click.IntRange(1, 100))
@click.option("--strip-metadata", is_flag=True, help="Do not copy EXIF and resolution.")
@click.option("--self-ensemble", is_flag=True, help="Mean over the mirror image; twice the time.")
@tile_option
@_max_megapixels(MEGAPIXELS, "Refuse larger photographs.")
@device_option
@click.option(
    "--precision", default="auto", show_default=True, type=click.Choice(["auto", "bf16", "fp32"])
)
def enhance(
    photographs: tuple[Path, ...],
    output: Path,
    model: str,
    faces: bool,
    face_files: bool,
    overwrite: bool,
    form: FormatName,
    quality: int,
    strip_metadata: bool,
    self_ensemble: bool,
    tile: int,
    max_pixels: int,
    device: str,
    precision: str,
) -> None:
    """Enlarge PHOTOGRAPHS (files, or folders with their subfolders); needs no project.

    An enlarged face is a plausible face, not evidence of anybody's identity.
    """
    if faces and face_files:
        raise click.UsageError("--faces and --face-files exclude each other.")
    from deepdepixelate.photographs.enhance import enhance as enhance_photographs

    enhance_photographs(
        photographs,
        output,
        model=_downloaded(model),
        faces="files" if face_files else "put_back" if faces else "ignore",
        format=form,
        quality=quality,
        strip_metadata=strip_metadata,
        overwrite=overwrite,
        max_pixels=max_pixels,
        tile=tile,
        device=device,
        precision=precision,
        self_ensemble=self_ensemble,
    )


@cli.command()
@click.argument("output", type=_UserPath(dir_okay=False))
@click.option("--format", type=click.Choice(["onnx"]), default="onnx", expose_value=False)
@click.option("--model", default="srgan", show_default=True, help=MODEL)
@overwrite_option
def export(output: Path, model: str, overwrite: bool) -> None:
    """Write a generator to OUTPUT in the ONNX format, for other runtimes."""
    from deepdepixelate.models.export import export_onnx
    from deepdepixelate.models.pretrained import find_generator

    with _writing(output, overwrite):
        export_onnx(find_generator(_downloaded(model)), output)


@cli.command()
@click.argument("start")
@click.argument("end")
@click.argument("output", type=_UserPath(dir_okay=False))
@click.option(
    "--weight",
    required=True,
    type=click.FloatRange(0, 2),
    help="0 gives START, 1 gives END; between 1 and 2, their difference is exaggerated.",
)
@overwrite_option
def interpolate(start: str, end: str, output: Path, weight: float, overwrite: bool) -> None:
    """Write a generator between two others to OUTPUT, a .safetensors file.

    With SRResNet as START and the SRGAN that was trained from it as END, a smaller weight gives
    softer images with less invented detail. START and END may also be .safetensors files or
    registered models. One must have been trained from the other, or both from a third.
    """
    from deepdepixelate.models.interpolation import interpolate as interpolate_weights
    from deepdepixelate.models.pretrained import find_generator
    from deepdepixelate.models.weights import save_weights

    with _writing(output, overwrite):
        first, second = (find_generator(_downloaded(each)) for each in (start, end))
        save_weights(output, interpolate_weights(first, second, weight))


@contextmanager
def _writing(output: Path, overwrite: bool) -> Iterator[None]:
    """Around the work for a file that a command writes; at the end, its name is printed."""
    try:
        if output.exists() and not overwrite:
            raise UserError(f"{output} exists; --overwrite replaces it.")
        yield
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror or error}.") from error
    click.echo(output)


@cli.command()
@click.option("--model", "models", multiple=True, help=f"{MODEL} May be repeated.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    callback=_resolvable,
    help="Address of the page.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="Default: a free port from 7860 on.")
@click.option("--browser/--no-browser", default=True, help="Open the page in a browser.")
@_max_megapixels(ZOOM_MEGAPIXELS, "Size limit of what is enlarged.")
@tile_option
@device_option
def demo(
    models: tuple[str, ...],
    host: str,
    port: int | None,
    browser: bool,
    max_pixels: int,
    tile: int,
    device: str,
) -> None:
    """Serve a web page that finds the faces of a photograph and enlarges them, until Ctrl-C.

    Works offline. Only this computer can open the page, unless --host is changed.
    """
    from threading import Event

    from deepdepixelate.models.pretrained import NAMES
    from deepdepixelate.photographs.demo.server import serving

    with serving(
        host=host,
        port=port,
        models=[_downloaded(each) for each in models] or NAMES,
        device=device,
        tile=tile,
        max_pixels=max_pixels,
        open_browser=browser,
    ) as address:
        click.echo(f"Zoom and enhance: {address} (stop with Ctrl-C)")
        if host not in ("localhost", "::1") and not host.startswith("127."):
            click.echo("Everybody who can reach this address can use the page.", err=True)
        with suppress(KeyboardInterrupt):
            Event().wait()


@cli.command()
@click.option("--rendezvous", required=True, help="HOST:PORT of training.rendezvous.")
@click.option(
    "--devices", type=click.IntRange(min=1), help="Number of processes. Default: one per GPU."
)
@click.option("--hosts", default=2, show_default=True, help="Same as training.hosts.")
@click.option("--max-restarts", default=3, show_default=True, help="Same as training.max_restarts.")
def worker(rendezvous: str, devices: int | None, hosts: int, max_restarts: int) -> None:
    """Join the training that `kedro run` started on another host, until it is finished.

    All hosts need the project folder at the same path (a shared file system), the same
    installation and the same number of processes.
    """
    load_settings()
    # This process holds the connection to the first host. When that ends, PyTorch prints traces of
    # C++ as warnings; the error that follows says it in a line. The variable is read at the import.
    level = "TORCH_CPP_LOG_LEVEL"
    is_default = level not in os.environ
    os.environ.setdefault(level, "ERROR")
    import torch

    if is_default:
        del os.environ[level]  # the processes that train keep their warnings

    from deepdepixelate.training.launch import join

    join(rendezvous, devices or max(1, torch.cuda.device_count()), hosts, max_restarts)


def load_settings() -> None:
    """Load the settings and the logging of the Kedro project, unless ``kedro`` has done so."""
    from kedro.framework import project

    if project.PACKAGE_NAME is None:
        project.configure_project("deepdepixelate")


class _Run(click.Command):
    """``kedro run``. Importing Kedro takes long and prints a line, so it waits until the run."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        from deepdepixelate.run_command import run

        return run.make_context(*args, **kwargs)


cli.add_command(_Run("run", help="Run the pipeline."))
