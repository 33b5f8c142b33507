"""``python -m deepdepixelate`` and ``deepdepixelate``."""

import sys
from pathlib import Path

from deepdepixelate.commands import commands


def main() -> None:
    """Run a command with the arguments of the process, ``run`` as ``kedro run`` does it."""
    if sys.argv[1:2] and sys.argv[1] in commands.commands:
        commands()  # without Kedro, which takes seconds to start and logs to the console
        return
    from kedro.framework.project import configure_project

    configure_project(Path(__file__).parent.name)
    from deepdepixelate.cli import cli

    cli()


if __name__ == "__main__":
    main()
