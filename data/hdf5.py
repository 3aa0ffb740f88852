"""Data sets in HDF5: `images` uint8 (N, H, W, 3) and `labels` (N,), if wanted `classes`, `test_images` and `test_labels`.

A file is data from a stranger. So only plain arrays that lie in the file itself are read: no links, no external
or virtual storage, no objects, no filter but HDF5's own, and no more bytes than a data set may have.
"""

from pathlib import Path

import h5py
import numpy as np

from minisqx.data.dataset import MOST_BYTES, MOST_CLASSES, Dataset, Say, divided
from minisqx.errors import DataError

SIGNATURE = b"\x89HDF\r\n\x1a\n"

# HDF5's built-in filters: deflate, shuffle, fletcher32. Others are plug-ins, that is, code from elsewhere.
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_MOST_NAME_BYTES = 1024


def read_hdf5(path: Path, say: Say) -> Dataset:
    """The data set in the file `path`. Without a test part, a sixth of the images becomes one.

    Raises DataError where the file is damaged, or holds something else than what is described above.
    """
    shown = str(path)
    try:
        with h5py.File(path, "r") as file:
            images = _array(file, "images", shown, "u1", 4)
            labels = _array(file, "labels", shown, "iu", 1).astype(np.int64)
            classes = _classes(file, shown, labels)
            name = f"HDF5 file {path.name!r}"
            if "test_images" not in file and "test_labels" not in file:
                return divided(name, classes, images, labels, say)
            test_images = _array(file, "test_images", shown, "u1", 4)
            test_labels = _array(file, "test_labels", shown, "iu", 1).astype(np.int64)
            return Dataset(name, classes, images, labels, test_images, test_labels)
    except DataError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split())
        raise DataError(f"{shown!r} is damaged or cut off ({reason}): make or get the file again") from error


def write_hdf5(dataset: Dataset, path: Path, attributes: dict) -> None:
    """Writes what `read_hdf5` reads; `attributes` are put on the file itself. Raises OSError."""
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes)
        file["images"], file["labels"] = dataset.train_images, dataset.train_labels
        file["test_images"], file["test_labels"] = dataset.test_images, dataset.test_labels
        file["classes"] = np.array([label.encode() for label in dataset.classes])


def _plain(file: h5py.File, name: str, shown: str) -> h5py.Dataset:
    """The data set `name`, once it is sure that its bytes lie in this file and that reading it runs no plug-in."""
    if name not in file:
        raise DataError(f"{shown!r} has no data set {name!r}; expected 'images' (uint8, N x H x W x 3) and 'labels' (N)")
    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        raise DataError(f"{shown!r}: {name!r} is a link or a group; expected a data set in the file itself")
    data = file[name]
    if data.external or data.is_virtual:
        raise DataError(f"{shown!r}: {name!r} lies in another file; expected it in the file itself")
    plan = data.id.get_create_plist()
    filters = {plan.get_filter(number)[0] for number in range(plan.get_nfilters())}
    if filters - _FILTERS:
        raise DataError(f"{shown!r}: {name!r} is packed with the filters {sorted(filters)}; expected gzip, or none")
    return data


def _array(file: h5py.File, name: str, shown: str, kinds: str, dimensions: int) -> np.ndarray:
    """A numeric array; `kinds` is "u1" for uint8 or "iu" for any integers."""
    data = _plain(file, name, shown)
    fits = data.dtype == np.uint8 if kinds == "u1" else data.dtype.kind in kinds
    if not fits or data.shape is None or len(data.shape) != dimensions:
        expected = "uint8 (N, height, width, 3)" if kinds == "u1" else "integers (N,)"
        raise DataError(f"{shown!r}: {name!r} is {data.dtype} {data.shape}; expected {expected}")
    if data.size * data.dtype.itemsize > MOST_BYTES:
        raise DataError(f"{shown!r}: {name!r} has {data.size} elements; at most {MOST_BYTES >> 30} GiB are read")
    return data[...]


def _classes(file: h5py.File, shown: str, labels: np.ndarray) -> tuple[str, ...]:
    """The names of the classes; where the file has none, the labels' numbers."""
    if "classes" not in file:
        most = max(labels.max(initial=0), 0)
        if most >= MOST_CLASSES:
            raise DataError(f"{shown!r}: the label {most} is too large; expected at most {MOST_CLASSES} classes")
        return tuple(str(number) for number in range(most + 1))
    data = _plain(file, "classes", shown)
    text = h5py.check_string_dtype(data.dtype)
    if (
        text is None
        or data.shape is None
        or len(data.shape) != 1
        or data.size > MOST_CLASSES
        or (text.length or 0) > _MOST_NAME_BYTES
    ):
        raise DataError(f"{shown!r}: 'classes' is {data.dtype} {data.shape}; expected a list of names")
    return tuple(data.asstr("utf-8")[...])
