"""Images in the rows of Parquet files, as the Hugging Face Hub stores data sets."""

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from deepdepixelate.data.sources.listing import Listing
from deepdepixelate.data.sources.names import brief, unsafe
from deepdepixelate.data.sources.parquet_columns import Columns, choose_columns
from deepdepixelate.data.sources.parquet_splits import split_of, split_of_path
from deepdepixelate.data.sources.places import check_size, reporting_failures, retrying, stamp_of
from deepdepixelate.data.sources.source import RejectedImageError, Split
from deepdepixelate.errors import UserError
from deepdepixelate.limits import SOURCE_IMAGES
from deepdepixelate.locations import Location

_LONGEST_NAME = 1024
_ROWS = 16
"""Rows that are decoded together."""
_CACHED_BYTES = 64 * 2**20
_OPEN_FILES = 4


class _Row(NamedTuple):
    file: int
    group: int
    row: int


class _Stated(NamedTuple):
    """What a row's columns state of its image; None if they do not."""

    name: Any = None
    split: str | None = None
    person: str | None = None


class ListedRows(NamedTuple):
    """What Parquet files hold.

    Attributes:
        listing: the images.
        splits: of each name, as far as the files state it.
        people: the person in each image, as far as the files state it.
    """

    listing: Listing
    splits: dict[str, Split]
    people: dict[str, str]


@dataclass(frozen=True)
class ParquetImages:
    """The images of Parquet files: a column of bytes, or of struct<bytes, path>.

    Attributes:
        folder: of the files.
        files: their paths in the folder.
        stamp_of_files: changes when a file does.
    """

    folder: Location
    files: tuple[str, ...]
    stamp_of_files: str

    def list(self) -> ListedRows:
        """What the files hold.

        Names are those of a column or of the structs; otherwise they are made of file and row. The
        splits are those of a column, or of files whose path has a part such as
        ``train-00000-of-00019.parquet`` or ``test/``.

        Raises:
            UserError: a file is damaged, or has no column of images.
        """
        opened = _opened(self)
        left_out = list(opened.listing.left_out)
        listing = Listing(list(opened.listing.names), left_out)
        return ListedRows(listing, dict(opened.splits), dict(opened.people))

    def read(self, name: str) -> bytes:
        opened = _opened(self)
        if not isinstance(self.folder, Path):
            return retrying(self.folder, lambda: opened.read(name))
        return opened.read(name)

    def stamp(self, name: str) -> str:
        opened = _opened(self)
        place = opened.rows[name]
        return f"{opened.stamps[place.file]} {place.group} {place.row}"


@dataclass
class _OpenParquet:
    """The rows of the files by name, and the files through which they are read."""

    source: ParquetImages
    listing: Listing = field(default_factory=Listing)
    rows: dict[str, _Row] = field(default_factory=dict)
    splits: dict[str, Split] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    stamps: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    readers: "OrderedDict[int, _Reader]" = field(default_factory=OrderedDict)
    batches: "OrderedDict[_Row, pa.Array]" = field(default_factory=OrderedDict)
    cached_bytes: int = 0

    def read(self, name: str) -> bytes:
        """The bytes of an image; RejectedImageError if its row is damaged or has none."""
        if (place := self.rows.get(name)) is None:
            raise RejectedImageError("no longer in the Parquet files")
        try:
            with self.lock:
                value = self._batch(place)[place.row % _ROWS].as_py()
        except Exception as error:
            if _is_damage(error):
                reason = f"damaged in the Parquet file: {brief(error)}"
                raise RejectedImageError(reason) from error
            raise
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise RejectedImageError("its row has no image")
        check_size(len(content))
        return content

    def _batch(self, place: _Row) -> pa.Array:
        """The rows around a row. Files are read forward; rows that were just read are kept."""
        wanted = place._replace(row=place.row - place.row % _ROWS)
        if (batch := self.batches.get(wanted)) is not None:
            self.batches.move_to_end(wanted)
            return batch
        reader = self.readers.pop(place.file, None)
        if reader is None or reader.group != place.group or reader.next_row > wanted.row:
            path = self.source.folder / self.source.files[place.file]
            reader = _Reader(path, self.columns[place.file], place.group)
        while (at := reader.next_row) <= wanted.row:
            batch = reader.read()
            self._keep(_Row(place.file, place.group, at), batch)
        self.readers[place.file] = reader
        while len(self.readers) > _OPEN_FILES:
            self.readers.popitem(last=False)
        return batch

    def _keep(self, key: _Row, batch: pa.Array) -> None:
        self.batches[key] = batch
        self.cached_bytes += batch.nbytes
        while self.cached_bytes > _CACHED_BYTES and len(self.batches) > 1:
            self.cached_bytes -= self.batches.popitem(last=False)[1].nbytes


class _Reader:
    """Reads the images of one row group, from its first row, without holding all of it."""

    def __init__(self, path: Location, column: str, group: int) -> None:
        self.group = group
        self.next_row = 0
        self._batches = pq.ParquetFile(
            _open(path), pre_buffer=False, buffer_size=2**20
        ).iter_batches(batch_size=_ROWS, row_groups=[group], columns=[column], use_threads=False)

    def read(self) -> pa.Array:
        batch = next(self._batches, None)
        if batch is None:
            raise IndexError("it has fewer rows than it claims")
        self.next_row += _ROWS
        column: pa.Array = batch.column(0)
        return column


def _open(path: Location) -> IO[bytes]:
    file: IO[bytes] = path.open("rb")
    return file


@lru_cache(maxsize=4)
def _opened(source: ParquetImages) -> _OpenParquet:
    opened = _OpenParquet(source)
    for number, name in enumerate(source.files):
        path = source.folder / name
        opened.stamps.append(stamp_of(path))
        try:
            with reporting_failures(path), _open(path) as file:
                _list_rows(opened, number, path, file)
        except (UserError, MemoryError):
            raise
        except Exception as error:
            if not _is_damage(error):
                raise
            raise UserError(
                f"{path} is not a complete Parquet file ({brief(error)}); the download may "
                "have been cut short. Download it again."
            ) from error
    opened.listing.names.extend(opened.rows)
    return opened


def _list_rows(opened: _OpenParquet, number: int, path: Location, file: IO[bytes]) -> None:
    metadata = pq.ParquetFile(file, pre_buffer=False).metadata
    groups = [max(0, metadata.row_group(each).num_rows) for each in range(metadata.num_row_groups)]
    if len(opened.rows) + len(opened.listing.left_out) + sum(groups) > SOURCE_IMAGES:
        raise UserError(
            f"{path.parent} has more than {SOURCE_IMAGES:,} rows, which is the limit: use a part."
        )
    columns = choose_columns(metadata.schema.to_arrow_schema(), path)
    opened.columns.append(columns.image)
    relative = opened.source.files[number]
    split_of_file = split_of_path(relative)
    made = PurePosixPath(relative).with_suffix("").as_posix().translate({46: "_", 47: "-"})
    read = [column for column in columns[1:] if column]
    # As dictionaries: a long text that is repeated in all rows is held once.
    table = pq.ParquetFile(file, pre_buffer=False, buffer_size=2**20, read_dictionary=read)
    first = 0
    for group, count in enumerate(groups):
        stated = _stated(table, group, columns, read) if read else iter(())
        for row in range(count):
            name, split, person = next(stated, _Stated())
            if not name:
                name = f"{made}-{first + row:06d}"
            given = split_of_file if split is None else split_of(split)
            path_inside = str(name).replace("\\", "/")
            name = PurePosixPath(path_inside).name
            if reason := _unusable(opened, path_inside, name, split, given):
                shown = path_inside[:_LONGEST_NAME] or made
                opened.listing.leave_out(shown, f"{relative}, row {first + row}: {reason}")
                continue
            opened.rows[name] = _Row(number, group, row)
            if given:
                opened.splits[name] = given
            if person is not None:
                opened.people[name] = person
        first += count


def _unusable(
    opened: _OpenParquet, path: str, name: str, stated: str | None, split: Split | None
) -> str | None:
    if len(path) > _LONGEST_NAME:
        return f"its name has {len(path):,} characters"
    if reason := unsafe(path):
        return reason
    if not name:
        return "it has no name"
    if name in opened.rows:
        return "another row has this name and is used"
    if stated is not None and split is None:
        return f"its split is {stated[:40]!r}, expected train, val or test"
    return None


def _stated(
    table: pq.ParquetFile, group: int, columns: Columns, read: list[str]
) -> Iterator[_Stated]:
    """What each row of a group states."""
    for batch in table.iter_batches(1024, row_groups=[group], columns=read, use_threads=False):
        arrays = [
            None if path is None else batch.column(batch.schema.names.index(path.split(".")[0]))
            for path in columns[1:]
        ]
        for row in range(len(batch)):
            name, split, person = (None if each is None else each[row].as_py() for each in arrays)
            if isinstance(name, dict):
                name = name.get("path")
            yield _Stated(name, _label(split), _label(person))


def _label(value: object) -> str | None:
    """As text, or None. pandas turns integers into floats if one is missing."""
    if isinstance(value, float):
        if math.isnan(value):
            return None
        value = int(value) if value.is_integer() else value
    return None if value is None else str(value)


def _is_damage(error: Exception) -> bool:
    """Whether pyarrow complains about the file; errors of the network have other types."""
    own_error = type(error) is OSError and error.errno is None
    return own_error or isinstance(
        error, pa.ArrowException | ValueError | UnicodeDecodeError | LookupError | TypeError
    )
