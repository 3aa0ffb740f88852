"""A CSV file of predictions, a row an image, that a stopped program continues.

    path            the image, as it was named
    class, probability, class2, probability2, ...    the likeliest classes, the likeliest first
    error           why an image could not be used; then the cells between are empty

While it grows it is the file `<path>.part`, beginning with a line that says which model the rows are from. When it is complete,
it takes the place of `<path>` in one step and without that line. So `<path>` is always complete, and a program that is killed
loses at most the rows that it had not yet added.
"""

import csv
import hashlib
import io
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from minisqx.errors import DataError, ImageError
from minisqx.inference.model import Model
from minisqx.inference.prediction import Prediction
from minisqx.machine.folders import lock, replace_file

ENCODING = {"encoding": "utf-8", "errors": "surrogateescape"}  # a file's name may be any bytes
MAX_ROW = 1 << 20  # bytes


def key_of(model: Model, topk: int) -> str:
    """A line that tells models apart, and numbers of classes in a row."""
    found = hashlib.sha256(repr((model.spec, model.classes, model.mean, model.std, model.temperature)).encode())
    for name, array in sorted(model.state.items()):
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(array.tobytes())
    return f"# minisqx predictions, unfinished: model {found.hexdigest()}, {topk} classes a row"


def header(topk: int) -> list[str]:
    ranks = ["", *map(str, range(2, topk + 1))]
    return ["path", *(f"{cell}{rank}" for rank in ranks for cell in ("class", "probability")), "error"]


def row(name: str, answer: Prediction | ImageError, topk: int) -> list[str]:
    """The cells of one image."""
    if isinstance(answer, ImageError):
        return [name, *[""] * (2 * topk), " ".join(str(answer).split())]
    return [name, *(cell for label, share in answer.topk(topk) for cell in (label, f"{share:.6f}")), ""]


class Table:
    """The growing file of `path`. As a context manager it locks the file, and closes it.

    key: one line; rows of another key are never continued. columns: the first row.
    Raises DataError if another process writes it, the rows there have another key, or a file can't be written.
    """

    def __init__(self, path: str | os.PathLike, key: str, columns: Sequence[str]) -> None:
        self.path = Path(path)
        self.part = self.path.with_name(self.path.name + ".part")
        self._width = len(columns)
        self._key, self._head = f"{key}\n".encode(), _line(columns)
        try:
            if self.path.is_dir():
                raise DataError(f"{str(path)!r} is a folder: expected a new CSV file")
            self._file = open(self.part, "a+b")  # noqa: SIM115
            self._open()
        except OSError as error:
            raise self._unwritable(error) from error

    def _open(self) -> None:
        try:
            lock(self._file.fileno())
        except BlockingIOError:
            self._file.close()
            raise DataError(f"another process writes {str(self.part)!r}: wait until it ends, or choose another file") from None
        except OSError:
            pass  # some network file systems have no locks; a second process is not detected there
        self._file.seek(0)
        start = self._file.read(len(self._key) + len(self._head))
        if start != (expected := self._key + self._head):
            if not expected.startswith(start):
                self._file.close()
                raise DataError(
                    f"{str(self.part)!r} is of another model or has other columns: finish it with the command that began it,"
                    " delete it, or choose another file"
                )
            self._file.truncate(0)  # it ended before its first row
            self._file.write(expected)
            self._file.flush()
            os.fsync(self._file.fileno())
        self._start = len(expected)

    def resume(self, names: Iterable[str]) -> tuple[int, int]:
        """Keeps the rows that are of the first of these names, in their order, and cuts off what follows.

        Returns how many are kept, and how many of those have an error.
        """
        kept, bad, end = 0, 0, self._start
        for name, (cells, stop) in zip(names, self._rows()):
            if len(cells) != self._width or cells[0] != name:
                break
            kept, bad, end = kept + 1, bad + bool(cells[-1]), stop
        try:
            self._file.truncate(end)
        except OSError as error:
            raise self._unwritable(error) from error
        return kept, bad

    def _rows(self) -> Iterator[tuple[list[str], int]]:
        """The complete rows, and where each ends. The last one of a killed program may be half there."""
        self._file.seek(self._start)
        while True:
            line = b""
            while not line.endswith(b"\n") or line.count(b'"') % 2:  # a quoted cell may have a line end
                more = self._file.readline(MAX_ROW)
                if not more or len(line) > MAX_ROW:
                    return
                line += more
            yield next(csv.reader(io.StringIO(line.decode(**ENCODING), newline=""))), self._file.tell()

    def rows(self) -> Iterator[list[str]]:
        """The rows that are there."""
        return (cells for cells, _ in self._rows())

    def add(self, rows: Iterable[Sequence[str]]) -> None:
        """Adds rows, which a kill of the process can't take away any more."""
        try:
            self._file.write(b"".join(map(_line, rows)))
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def finish(self) -> None:
        """Makes it the file `path`."""
        try:
            with (
                mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as content,
                memoryview(content) as whole,
                whole[len(self._key) :] as rows,
            ):
                replace_file(self.path, rows)
            self.close()
            self.part.unlink()
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def _unwritable(self, error: OSError) -> DataError:
        return DataError(f"can't write {str(self.path)!r} ({error.strerror or error}): free space, or choose another file")


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode(**ENCODING)
