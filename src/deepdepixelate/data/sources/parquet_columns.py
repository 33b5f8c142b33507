"""The columns of a Parquet file that hold images, names, splits and people."""

from typing import NamedTuple

import pyarrow as pa

from deepdepixelate.data.sources.names import brief
from deepdepixelate.errors import UserError
from deepdepixelate.locations import Location

_IMAGE_COLUMNS = ("image", "img", "face", "jpg", "jpeg", "png", "bytes", "content")
_NAME_COLUMNS = ("image_id", "file_name", "filename", "name", "image_name", "image_path", "path")
_SPLIT_COLUMNS = ("split", "partition", "subset", "set")
_PERSON_COLUMNS = ("identity", "celeb_id", "person_id", "person", "identity_id")
"""Names of columns, the preferred ones first."""


class Columns(NamedTuple):
    """Paths of columns in a file, in the form that pyarrow takes."""

    image: str
    name: str | None
    split: str | None
    person: str | None


def choose_columns(schema: pa.Schema, path: Location) -> Columns:
    """Choose the columns by their types, and by their names if there are several.

    Args:
        schema: of a file.
        path: of the file, for the message.

    Raises:
        UserError: no column can hold images, or several can and none has a known name.
    """
    images = {each.name: leaf for each in schema if (leaf := _image_leaf(each))}
    preferred = [name for name in _IMAGE_COLUMNS if name in images] or list(images)
    if not preferred or (len(preferred) > 1 and preferred[0] not in _IMAGE_COLUMNS):
        found = ", ".join(f"{brief(each.name)}: {brief(each.type)}" for each in list(schema)[:20])
        raise UserError(
            f"{path}: cannot tell which column holds the images. It must hold bytes, or "
            f"struct<bytes, path> as on the Hugging Face Hub, and be named image if there are "
            f"several; the columns are {found or 'none'}."
        )
    image = preferred[0]
    texts = {each.name for each in schema if _is_text(each.type)}
    name = next((each for each in _NAME_COLUMNS if each in texts), None)
    struct = schema.field(image).type
    if name is None and pa.types.is_struct(struct) and struct.get_field_index("path") >= 0:
        name = f"{image}.path" if _is_text(struct.field("path").type) else None
    labels = {each.name for each in schema if _is_text(each.type) or _is_number(each.type)}
    split = next((each for each in _SPLIT_COLUMNS if each in labels), None)
    person = next((each for each in _PERSON_COLUMNS if each in labels), None)
    return Columns(images[image], name, split, person)


def _image_leaf(column: pa.Field) -> str | None:
    """The path of the column's bytes, if it can hold images."""
    kind = column.type
    if _is_bytes(kind):
        return str(column.name)
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return f"{column.name}.bytes" if _is_bytes(kind.field("bytes").type) else None
    return None


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    kind = _of_values(kind)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    kind = _of_values(kind)
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _of_values(kind: pa.DataType) -> pa.DataType:
    """The type of the values of a column of categories, or the type itself."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind
