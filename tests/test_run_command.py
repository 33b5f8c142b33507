import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kedro.framework.project import configure_project

from deepdepixelate.cli import cli
from deepdepixelate.parameters import Parameters
from deepdepixelate.run_command import PATHS, run


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What ``kedro run`` would be called with."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(run, "callback", lambda **each: seen.update(each))
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


def test_saving_on_threads_is_refused_for_it_would_lose_the_record(options: dict[str, Any]) -> None:
    outcome = CliRunner().invoke(cli, ["run", "--async"])
    assert outcome.exit_code == 1
    assert "--async cannot be used here" in outcome.output
    assert not options


def test_a_runner_that_does_not_exist_is_reported(options: dict[str, Any]) -> None:
    for name in ("Foo", "nowhere.Foo"):
        outcome = CliRunner().invoke(cli, ["run", "--runner", name])
        assert outcome.exit_code == 1
        assert f"unknown runner {name}" in outcome.output
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


@pytest.mark.parametrize(
    "path",
    ["2024_11_26", "007", "1e3", "#1", "@home", "*", "%20", "a #b", "a: b", "[a]", "12:30", "it's"],
)
def test_a_path_is_taken_as_it_is_written(options: dict[str, Any], path: str) -> None:
    outcome = CliRunner().invoke(
        cli, ["run", "--params", f"enhance.input={path} , evaluate.benchmarks.mine = {path}"]
    )
    assert outcome.exit_code == 0, outcome.output
    assert options["params"] == {
        "enhance": {"input": path},
        "evaluate": {"benchmarks": {"mine": path}},
    }


@pytest.mark.parametrize(
    ("path", "expected"), [("", None), ("null", None), ("~", None), ("'a b'", "a b"), ('"a"', "a")]
)
def test_a_path_may_be_none_or_in_quotes(
    options: dict[str, Any], path: str, expected: str | None
) -> None:
    outcome = CliRunner().invoke(cli, ["run", "--params", f"enhance.input={path}"])
    assert outcome.exit_code == 0, outcome.output
    assert options["params"] == {"enhance": {"input": expected}}


def test_every_path_among_the_parameters_is_known() -> None:
    schema = Parameters.model_json_schema()

    def paths(part: Any, name: str) -> Iterator[str]:
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
        if part.get("format") == "path":
            yield name
        for field, inner in part.get("properties", {}).items():
            yield from paths(inner, f"{name}.{field}")
        if part.get("patternProperties"):
            for inner in part["patternProperties"].values():
                yield from paths(inner, f"{name}.mine")
        for inner in part.get("anyOf", []):
            yield from paths(inner, name)

    found = {name.removeprefix(".") for name in paths(schema, "")}
    assert {"celeba_dir", "enhance.output", "evaluate.benchmarks.mine.lr"} < found
    for name in found:
        assert PATHS.fullmatch(name), name


def test_numbers_are_still_numbers(options: dict[str, Any]) -> None:
    outcome = CliRunner().invoke(cli, ["run", "--params", "a=1_000,b=1e-4,c=yes,d=null"])
    assert outcome.exit_code == 0, outcome.output
    assert options["params"] == {"a": 1000, "b": 1e-4, "c": True, "d": None}


def test_params_may_be_given_twice(options: dict[str, Any]) -> None:
    outcome = CliRunner().invoke(
        cli, ["run", "--params", "ingest.width=1,celeba_dir=a", "--params", "ingest.width=2"]
    )
    assert outcome.exit_code == 0, outcome.output
    assert options["params"] == {"ingest": {"width": 2}, "celeba_dir": "a"}


def test_a_value_that_is_no_yaml_is_reported_without_a_traceback() -> None:
    outcome = CliRunner().invoke(cli, ["run", "--params", "training.device=@x"])
    assert outcome.exit_code == 2
    assert "'@'" in outcome.output


@pytest.mark.parametrize(
    "option", ["--nodes", "--tags", "--from-nodes", "--to-outputs", "--from-inputs", "--namespaces"]
)
def test_a_part_of_a_pipeline_that_does_not_exist_is_reported(
    options: dict[str, Any], option: str
) -> None:
    configure_project("deepdepixelate")
    outcome = CliRunner().invoke(cli, ["run", "--pipeline", "ingest", option, "nowhere"])
    assert outcome.exit_code == 1
    assert outcome.output.startswith("Error: Pipeline")
    assert "The nodes are ingest.store_faces" in outcome.output
    assert not options


def test_torch_is_not_imported_before_a_node_needs_it() -> None:
    code = (
        "import sys; from deepdepixelate import settings, pipeline_registry;"
        "pipeline_registry.register_pipelines(); import deepdepixelate.tracking.record;"
        "assert 'torch' not in sys.modules"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
