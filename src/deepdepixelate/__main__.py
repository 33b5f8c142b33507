"""``python -m deepdepixelate`` and ``deepdepixelate``: run the project as ``kedro run`` does."""

from pathlib import Path

from kedro.framework.project import configure_project


def main() -> None:
    """Run the project's ``run`` command with the arguments of the process."""
    configure_project(Path(__file__).parent.name)
    from deepdepixelate.cli import cli

    cli()


if __name__ == "__main__":
    main()
