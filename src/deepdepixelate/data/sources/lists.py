"""Lists that assign images to splits."""

from pathlib import Path

from deepdepixelate.data.sources.source import SPLITS, Split
from deepdepixelate.errors import UserError


def read_partition(path: Path) -> dict[str, Split]:
    """Read CelebA's partition list: a name and 0, 1 or 2 (train, val, test) per line.

    They are separated by blanks or a comma. A byte-order mark and a heading (``image_id``) are
    skipped.

    Raises:
        UserError: the file is missing or empty, or a line has another form or repeats a name.
    """
    partition: dict[str, Split] = {}
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing. It comes with CelebA (folder Eval) and lists the split of each "
            "image. Put it there or name its folder: --params celeba_dir=DIR."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as CelebA's partition list: {error}") from error
    for number, line in enumerate(lines, start=1):
        fields = line.replace(",", " ").split()
        if not fields or (number == 1 and fields[0] == "image_id"):
            continue
        match fields:
            case [name, "0" | "1" | "2" as code] if name not in partition:
                partition[name] = SPLITS[int(code)]
            case [name, "0" | "1" | "2"]:
                raise UserError(f"{path}, line {number}: {name} is listed a second time.")
            case _:
                raise UserError(
                    f"{path}, line {number}: expected a file name and 0, 1 or 2 (train, val, "
                    f"test), found {line[:80]!r}."
                )
    if not partition:
        raise UserError(f"{path} lists no image.")
    return partition
