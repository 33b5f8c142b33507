"""``python -m deepdepixelate`` and the command ``deepdepixelate``."""

from deepdepixelate.cli import cli as main

if __name__ == "__main__":
    main()
