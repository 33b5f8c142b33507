from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from deepdepixelate.commands import commands


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["enhance", "~/a.jpg", "~b.jpg", "--output=~/large"], ("photographs", "output")),
        (["export", "~/a.onnx"], ("output",)),
    ],
)
def test_the_home_folder_is_found_where_the_shell_left_it_to_us(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], names: tuple[str, ...]
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setattr(
        commands.commands[arguments[0]], "callback", lambda **each: seen.update(each)
    )
    outcome = CliRunner().invoke(commands, arguments)
    assert outcome.exit_code == 0, outcome.output
    given = [seen[name] for name in names]
    if arguments[0] == "enhance":
        assert given == [(Path("/home/ada/a.jpg"), Path("~b.jpg")), Path("/home/ada/large")]
    else:
        assert given == [Path("/home/ada/a.onnx")]
