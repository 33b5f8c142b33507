from pathlib import Path
from typing import Any

import pytest
from omegaconf.resolvers import oc

from deepdepixelate.config_loader import ProjectConfigLoader
from deepdepixelate.errors import UserError

FILES = {
    "base/globals.yml": "place: here",
    "base/parameters.yml": "training: {seed: 0, device: auto}",
    "base/catalog.yml": "faces: {type: text, filepath: '${globals:place}/a'}\nscores: {type: json}",
    "celeba/globals.yml": "place: there",
    "celeba/parameters_more.yml": "training: {seed: 1}\nupdates: 9",
    "local/parameters_mine.yml": "training: {device: cuda:1}",
    "local/catalog.yml": "scores: {type: csv}",
    "local/credentials.yml": "server: {token: secret}",
}


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    write(tmp_path, FILES)
    return tmp_path


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def loader(conf: Path, env: str | None, **params: Any) -> ProjectConfigLoader:
    return ProjectConfigLoader(
        str(conf),
        env=env,
        runtime_params=params,
        base_env="base",
        default_run_env="local",
        merge_strategy={"parameters": "soft", "globals": "soft"},
    )


def test_conf_local_overrides_any_environment(conf: Path) -> None:
    settings = loader(conf, "celeba")
    assert settings["parameters"] == {"training": {"seed": 1, "device": "cuda:1"}, "updates": 9}
    assert settings["catalog"] == {
        "faces": {"type": "text", "filepath": "there/a"},
        "scores": {"type": "csv"},
    }
    assert settings["credentials"] == {"server": {"token": "secret"}}


def test_runtime_params_override_all_files(conf: Path) -> None:
    assert loader(conf, "celeba", training={"device": "cpu"})["parameters"] == {
        "training": {"seed": 1, "device": "cpu"},
        "updates": 9,
    }


def test_globals_of_conf_local_reach_the_catalogue(conf: Path) -> None:
    write(conf, {"local/globals.yml": "place: mine"})
    assert loader(conf, "celeba")["catalog"]["faces"]["filepath"] == "mine/a"


def test_without_an_environment_conf_local_is_read_as_by_kedro(conf: Path) -> None:
    expected = {"training": {"seed": 0, "device": "cuda:1"}}
    assert loader(conf, None)["parameters"] == expected
    assert loader(conf, "local")["parameters"] == expected


def test_the_environment_base_is_base_alone(conf: Path) -> None:
    assert loader(conf, "base")["parameters"] == {"training": {"seed": 0, "device": "auto"}}


def test_conf_local_may_be_missing(conf: Path) -> None:
    for path in (conf / "local").iterdir():
        path.unlink()
    (conf / "local").rmdir()
    assert loader(conf, "celeba")["parameters"]["training"] == {"seed": 1, "device": "auto"}


@pytest.mark.parametrize("name", ["faces [old]", "what?", "a*b", "{faces}", "a%20b"])
def test_a_folder_with_special_characters_is_reported(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, FILES)
    with pytest.raises(UserError, match="Rename the folder") as raised:
        loader(tmp_path / name, None)
    assert name in str(raised.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"training:\n\tseed: 1\n", "line 2: found character"),
        (b"training: {seed: 1}\ntraining: {seed: 2}\n", "line 2: found duplicate key training"),
        (b'place: "C:\\Users"\n', "line 1"),
        ("place: Jürgen\n".encode("latin-1"), "'utf-8' codec can't decode"),
    ],
)
def test_an_unreadable_file_is_reported(conf: Path, text: bytes, problem: str) -> None:
    path = conf / "local/parameters_mine.yml"
    path.write_bytes(text)
    for env in (None, "celeba"):
        with pytest.raises(UserError) as raised:
            loader(conf, env)["parameters"]
        assert str(path) in str(raised.value)
        assert problem in str(raised.value)


def test_a_setting_in_two_files_names_both(conf: Path) -> None:
    write(conf, {"local/parameters_more.yml": "training: {device: cpu}"})
    with pytest.raises(UserError, match=r"training\.device") as raised:
        loader(conf, None)["parameters"]
    assert "parameters_mine.yml" in str(raised.value)
    assert "parameters_more.yml" in str(raised.value)


def test_an_unresolved_reference_is_reported(conf: Path) -> None:
    write(conf, {"local/parameters_mine.yml": "training: {place: '${HOME}/faces'}"})
    with pytest.raises(UserError, match=r"training\.place: .*'HOME' not found.*oc\.env:NAME"):
        loader(conf, None)["parameters"]


def test_variables_of_the_environment_can_be_named(
    conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACES", "/faces")
    write(conf, {"local/parameters_mine.yml": "place: '${oc.env:FACES}/celeba'"})
    settings = ProjectConfigLoader(
        str(conf),
        base_env="base",
        default_run_env="local",
        custom_resolvers={"oc.env": oc.env},  # as in deepdepixelate.settings
    )
    assert settings["parameters"]["place"] == "/faces/celeba"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("mine", "mine"),
        ("~/mine", "/home/ada/mine"),
        ("$HOME/x", "/home/ada/x"),
        (2024, "2024"),
        (None, "raw"),
        ("s3://bucket/faces", "s3://bucket/faces"),
    ],
)
def test_a_path_of_the_catalogue_is_a_parameter_from_a_file_or_the_command(
    conf: Path, monkeypatch: pytest.MonkeyPatch, value: object, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    write(conf, {"celeba/catalog.yml": "faces: {type: text, filepath: '${user_path:where, raw}'}"})
    assert loader(conf, "celeba", where=value)["catalog"]["faces"]["filepath"] == expected
    if value is not None:
        write(conf, {"local/parameters_mine.yml": f"where: {value}"})
    assert loader(conf, "celeba")["catalog"]["faces"]["filepath"] == expected


def test_the_catalogue_can_refer_to_a_parameter(conf: Path) -> None:
    write(conf, {"celeba/catalog.yml": "faces: {type: text, all: '${parameter:training}'}"})
    settings = loader(conf, "celeba", training={"device": "cpu"})
    assert settings["catalog"]["faces"]["all"] == {"seed": 1, "device": "cpu"}


def test_a_folder_without_a_project_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="in the project's folder"):
        loader(tmp_path / "conf", None)
