"""The documents keep step with the code: their snippets run, and what they name exists."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from finished_project import finished_project
from kedro_project import PROJECT, Project, mlflow_as_before
from omegaconf import OmegaConf
from PIL import Image

from deepdepixelate.cli import cli
from deepdepixelate.parameters import Parameters, check_parameters
from deepdepixelate.run_command import run

DOCUMENTS = [
    PROJECT / "README.md",
    PROJECT / "CONTRIBUTING.md",
    *sorted((PROJECT / "conf").rglob("*.md")),
    *sorted((PROJECT / "docs").rglob("*.md")),
]
STAGES = "download|ingest|degrade|training|pretrain|train_gan|evaluate|enhance"


def blocks(document: Path, language: str) -> Iterator[str]:
    """The fenced blocks of a language, without the indentation of a list."""
    fenced = r"^( *)```(\w*)[^\n]*\n(.*?)^ *```$"
    for indent, of, code in re.findall(fenced, document.read_text(), re.MULTILINE | re.DOTALL):
        if of == language:
            yield re.sub(f"^{indent}", "", code, flags=re.MULTILINE)


SNIPPETS = [
    pytest.param(code, id=f"{document.stem}-{number}")
    for document in DOCUMENTS
    for number, code in enumerate(blocks(document, "python"))
    if "pyspark" not in code  # tests/cluster/test_spark.py runs it
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project, _ = finished_project(tmp_path_factory)
    face = Image.radial_gradient("L").convert("RGB").resize((44, 54))
    face.save(project.path / "face.png")
    return project


@pytest.mark.parametrize("code", SNIPPETS)
def test_snippet_runs_as_it_stands(
    code: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path)
    with mlflow_as_before():
        exec(compile(code, "snippet", "exec"), {})  # noqa: S102


def parameters(*changes: str) -> Parameters:
    """The sample's parameters, with changes as in ``pretrain.updates=2000``."""
    files = sorted((PROJECT / "conf/base").glob("parameters*.yml"))
    merged = OmegaConf.merge(*map(OmegaConf.load, files), OmegaConf.from_dotlist(list(changes)))
    values: Any = OmegaConf.to_container(merged)
    return check_parameters(values)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_parameters_that_a_command_sets_are_accepted(document: Path) -> None:
    for items in re.findall(r'--params "([^"]+)"', document.read_text()):
        if not re.search(r"\$|\.\.\.|NAME", items):
            parameters(*items.split(","))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_parameters_that_are_named_exist(document: Path) -> None:
    all_values = parameters().model_dump()
    for name in re.findall(rf"`((?:{STAGES})\.[a-z_.0-9]+)[`=]", document.read_text()):
        values = all_values
        for part in name.split("."):
            if values in ({}, None):
                break  # benchmarks of any name, sections that are left out
            assert part in values, name
            values = values[part]


def _commands(document: Path) -> Iterator[list[str]]:
    for block in blocks(document, ""):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["deepdepixelate"] or words[:2] == ["kedro", "run"]:
                yield words[1:]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_commands_and_their_options_exist(document: Path) -> None:
    for name, *arguments in _commands(document):
        if name.startswith("--"):
            continue
        command = run if name == "run" else cli.get_command(click.Context(cli), name)
        assert command is not None, name
        known = {option for each in command.params for option in [*each.opts, *each.secondary_opts]}
        assert {each for each in arguments if re.fullmatch("--?[a-z-]+", each)} <= known
