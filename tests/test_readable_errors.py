import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from deepdepixelate.errors import UserError
from deepdepixelate.readable_errors import ReadableErrors


def command(function: Callable[[], object]) -> click.Command:
    return ReadableErrors(name="do", callback=function)


@pytest.mark.parametrize("hidden", [True, False])
def test_a_bug_while_an_error_was_handled_keeps_its_traceback(hidden: bool) -> None:
    def look_up() -> None:
        try:
            raise PermissionError(13, "Permission denied", "some/file")
        except PermissionError:
            if hidden:
                raise KeyError("name") from None
            raise KeyError("name")  # noqa: B904 - the bug

    outcome = CliRunner().invoke(command(look_up))
    assert isinstance(outcome.exception, KeyError)
    assert "correct the permissions" not in outcome.output


def test_a_user_error_is_shown_if_it_is_the_cause() -> None:
    def load() -> None:
        try:
            raise UserError("the folder is not there")
        except UserError as error:
            raise RuntimeError("while loading") from error

    outcome = CliRunner().invoke(command(load))
    assert outcome.exit_code == 1
    assert outcome.output == "Error: the folder is not there\n"


ENDS_ITSELF = """
import os, signal, sys
from deepdepixelate.readable_errors import ReadableErrors

class Command(ReadableErrors):
    def clean_up(self):
        print("cleaned up")

def end():
    os.kill(os.getpid(), getattr(signal, sys.argv.pop()))
    print("went on")

Command(name="do", callback=end).main(args=[])
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("name", "before", "code", "said"),
    [
        ("SIGTERM", "", 128 + 15, "cleaned up"),
        ("SIGHUP", "", 128 + 1, "cleaned up"),
        ("SIGHUP", "trap '' HUP;", 0, "went on"),
    ],
)
def test_a_signal_that_ends_a_command_lets_it_clean_up_unless_it_is_ignored(
    tmp_path: Path, name: str, before: str, code: int, said: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(ENDS_ITSELF)
    process = subprocess.run(
        ["sh", "-c", f"{before} exec {sys.executable} {script} {name}"],
        capture_output=True,
        text=True,
        # A shell that runs the tests in the background may have them ignore signals.
        preexec_fn=lambda: signal.signal(getattr(signal, name), signal.SIG_DFL),
    )
    assert process.returncode == code, process.stderr
    assert said in process.stdout
