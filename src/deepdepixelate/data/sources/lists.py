"""Lists that assign images to splits or to people."""

from deepdepixelate.data.sources.names import without_suffix
from deepdepixelate.data.sources.places import read_list
from deepdepixelate.data.sources.source import SPLITS, Split
from deepdepixelate.errors import UserError
from deepdepixelate.locations import Location

PARTITIONS = ("list_eval_partition.txt", "list_eval_partition.csv")
"""CelebA's official list, and the list of Kaggle's copy, with commas and a heading."""

IDENTITIES = ("identity_CelebA.txt", "identity_CelebA.csv")

_HEADINGS = {"image_id", "image", "name", "file", "file_name", "filename"}


def read_partition(path: Location, content: bytes | None = None) -> dict[str, Split]:
    """Read CelebA's partition list: a name and 0, 1 or 2 (train, val, test) per line.

    They are separated by blanks or a comma. A byte-order mark and a heading (``image_id``) are
    skipped.

    Args:
        path: of the file.
        content: of the file, if it was read already.

    Raises:
        UserError: the file is missing or empty, or a line has another form or repeats a name.
    """
    partition: dict[str, Split] = {}
    missing = (
        "It comes with CelebA (folder Eval) and lists the split of each image. Put it there or "
        "name its folder: --params celeba_dir=DIR."
    )
    lines = read_list(path, "CelebA's partition list", content, missing=missing)
    for number, line in enumerate(lines, start=1):
        fields = line.replace(",", " ").split()
        if not fields or (number == 1 and fields[0] == "image_id"):
            continue
        match fields:
            case [name, "0" | "1" | "2" as code] if name not in partition:
                partition[name] = SPLITS[int(code)]
            case [name, "0" | "1" | "2"]:
                raise UserError(f"{path}, line {number}: {name[:80]!r} is listed a second time.")
            case _:
                raise UserError(
                    f"{path}, line {number}: expected a file name and 0, 1 or 2 (train, val, "
                    f"test), found {line[:80]!r}."
                )
    if not partition:
        raise UserError(f"{path} lists no image.")
    return partition


def read_identities(path: Location) -> dict[str, str]:
    """Read a list with a file name and the identity of its person per line.

    They are separated by blanks or a comma, and names may contain blanks. A byte-order mark and a
    heading (such as ``image_id,identity``) are skipped.

    Returns:
        The identity of each name without its suffix.

    Raises:
        UserError: the file is missing or empty, or a line has another form or repeats a name.
    """
    identities: dict[str, str] = {}
    missing = (
        "ingest.split.by=identity needs a list with a file name and an identity per line; name it "
        "with ingest.split.identities=FILE."
    )
    lines = read_list(path, "a list of identities", missing=missing)
    for number, line in enumerate(lines, start=1):
        fields = [field.strip() for field in line.rsplit("," if "," in line else None, 1)]
        if not any(fields) or (number == 1 and fields[0].lower() in _HEADINGS):
            continue
        if len(fields) < 2 or not all(fields):
            raise UserError(
                f"{path}, line {number}: expected a file name and an identity, found {line[:80]!r}."
            )
        name = without_suffix(fields[0])
        if identities.setdefault(name, fields[1]) != fields[1]:
            raise UserError(
                f"{path}, line {number}: {name[:80]!r} is listed a second time, with another "
                "identity."
            )
    if not identities:
        raise UserError(f"{path} lists no image.")
    return identities
