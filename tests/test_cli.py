import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from deepdepixelate.cli import cli


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What ``kedro run`` would be called with."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(cli.commands["run"], "callback", lambda **each: seen.update(each))
    return seen


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yml"
    path.write_text(
        "run:\n  env: celeba\n  params: {train_gan: {updates: 7, content: mse}, celeba_dir: here}\n"
    )
    return path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], {"train_gan": {"updates": 7, "content": "mse"}, "celeba_dir": "here"}),
        (
            ["--params", "train_gan.updates=9,celeba_dir=there"],
            {"train_gan": {"updates": 9, "content": "mse"}, "celeba_dir": "there"},
        ),
    ],
)
def test_params_change_those_of_the_configuration_file_and_drop_none(
    options: dict[str, Any], recipe: Path, given: list[str], expected: dict[str, Any]
) -> None:
    outcome = CliRunner().invoke(cli, ["run", "--config", str(recipe), *given])
    assert outcome.exit_code == 0, outcome.output
    assert (options["env"], options["params"]) == ("celeba", expected)


def test_params_alone_are_as_given(options: dict[str, Any]) -> None:
    outcome = CliRunner().invoke(cli, ["run", "--params", "train_gan.updates=9"])
    assert outcome.exit_code == 0, outcome.output
    assert options["params"] == {"train_gan": {"updates": 9}}


def test_a_runner_of_many_processes_is_refused(options: dict[str, Any]) -> None:
    outcome = CliRunner().invoke(cli, ["run", "--runner", "ParallelRunner"])
    assert outcome.exit_code == 1
    assert "ParallelRunner cannot run this project" in outcome.output
    assert not options


def test_a_comma_in_a_value_says_what_to_write_instead() -> None:
    outcome = CliRunner().invoke(cli, ["run", "--params", "enhance.input=Ada, Bob"])
    assert outcome.exit_code == 2
    assert "--config" in outcome.output


def test_paths_are_relative_to_the_project_wherever_one_stands(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Path(__file__).parents[1]
    monkeypatch.chdir(project / "tests")
    assert CliRunner().invoke(cli, ["run"]).exit_code == 0
    assert Path(os.getcwd()) == project  # noqa: PTH109
    assert options
