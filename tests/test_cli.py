import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from deepdepixelate.cli import cli


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["enhance", "~/a.jpg", "~b.jpg", "--output=~/large"], ("photographs", "output")),
        (["export", "~/a.onnx"], ("output",)),
    ],
)
def test_a_tilde_that_the_shell_did_not_expand_is_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], names: tuple[str, ...]
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setattr(cli.commands[arguments[0]], "callback", lambda **each: seen.update(each))
    outcome = CliRunner().invoke(cli, arguments)
    assert outcome.exit_code == 0, outcome.output
    given = [seen[name] for name in names]
    if arguments[0] == "enhance":
        assert given == [(Path("/home/ada/a.jpg"), Path("~b.jpg")), Path("/home/ada/large")]
    else:
        assert given == [Path("/home/ada/a.onnx")]


@pytest.mark.parametrize("megapixels", ["nan", "inf", "0", "-1"])
def test_a_limit_on_pixels_is_a_positive_number(megapixels: str) -> None:
    arguments = ["enhance", "a.jpg", "-o", "large", "--max-megapixels", megapixels]
    outcome = CliRunner().invoke(cli, arguments)
    assert outcome.exit_code == 2
    assert "is not a positive number" in outcome.output


@pytest.mark.parametrize("flag", ["--faces", "--face-files"])
def test_missing_dlib_is_reported_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    outcome = CliRunner().invoke(cli, ["enhance", "a.jpg", "-o", str(tmp_path / "out"), flag])
    assert outcome.exit_code == 1
    assert outcome.output.startswith("Error: dlib, which finds faces, cannot be imported (")
    assert outcome.output.endswith(': pip install "deepdepixelate[identity]".\n')
    assert not (tmp_path / "out").exists()


def test_faces_are_put_back_or_become_files() -> None:
    outcome = CliRunner().invoke(cli, ["enhance", "a.jpg", "--faces", "--face-files"])
    assert outcome.exit_code == 2
    assert "--faces and --face-files exclude each other" in outcome.output


def test_a_host_that_cannot_be_resolved_is_reported() -> None:
    outcome = CliRunner().invoke(cli, ["demo", "--host", "nosuch.invalid", "--no-browser"])
    assert outcome.exit_code == 2
    assert "nosuch.invalid" in outcome.output


def test_version() -> None:
    outcome = CliRunner().invoke(cli, ["--version"])
    assert outcome.output == f"deepdepixelate, version {version('deepdepixelate')}\n"


def test_help_imports_neither_kedro_nor_torch() -> None:
    code = (
        "import sys; from deepdepixelate.cli import cli; cli(['--help'], standalone_mode=False);"
        "assert sys.modules.keys().isdisjoint(['kedro', 'torch', 'numpy', 'gradio', 'mlflow'])"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    for name in ("demo", "enhance", "export", "interpolate", "run", "worker"):
        assert f"\n  {name} " in outcome.stdout
