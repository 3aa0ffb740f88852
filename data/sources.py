"""`open_dataset`, which picks the reader for a path or a name."""

import os
import stat
from pathlib import Path

from minisqx.checks import is_whole, plain, require
from minisqx.data import FILES, GROUPINGS, SPLITS
from minisqx.data.classes import listed
from minisqx.data.dataset import Dataset, Say, say_on_stderr
from minisqx.data.parts import Parts
from minisqx.errors import DataError
from minisqx.machine.limits import size_text


def open_dataset(
    path: str | Path | None = None,
    *,
    image_size: tuple[int, int] | None = None,
    skip_bad_images: bool = False,
    groups: str | None = None,
    split: str = FILES,
    say: Say = say_on_stderr,
) -> Dataset:
    """The data set at `path`, or the default one.

    path: an official CIFAR-10 archive (binary or python version) or its unpacked folder, an image folder, or an HDF5 file.
        "cifar10": the official archive from the cache folder, else downloaded. "shapes": the embedded data set.
        None: like "cifar10", or the embedded data set if there is no network.
    image_size: (height, width) to which the images of an image folder are resized; other sources must have it already.
    skip_bad_images: skip unusable files of an image folder, with a line for each, instead of refusing the folder.
    groups: "prefix" or "folder": files of an image folder belong together, and stay in one part, if they have one name up to a
        number at its end, or one folder within the class. An HDF5 file says itself which images belong together.
    split: how test images are set aside of an image folder that has none. "files": each by its file's name alone, so that another
        photograph moves no other; "drawn": exactly a sixth of each class, by their names and number. Other data is always drawn.
    say: called with one-line messages about what is read, cached, divided or downloaded.
    Raises DataError if there is no such data, or if it is damaged or not a data set.
    """
    parts = open_parts(path, image_size=image_size, skip_bad_images=skip_bad_images, groups=groups, say=say)
    require(split in SPLITS, "split", split, "one of " + ", ".join(SPLITS))
    dataset = parts.dataset(say, split)
    *counts, last = (f"{len(part)} {'training' if name == 'train' else name}" for name, part in dataset.parts.items())
    size = size_text(*dataset.image_size)
    say(f"data: {dataset.name}: {', '.join(counts)} and {last} images of {size}, {len(dataset.classes)} classes")
    return dataset


def open_parts(
    path: str | Path | None,
    *,
    image_size: tuple[int, int] | None,
    skip_bad_images: bool,
    groups: str | None = None,
    say: Say,
) -> Parts:
    """Like `open_dataset`, but with the parts as they are in the source."""
    require(groups is None or groups in GROUPINGS, "groups", groups, "one of " + ", ".join(GROUPINGS))
    image_size, skip_bad_images = plain((image_size, skip_bad_images))
    if image_size is not None:
        pair = isinstance(image_size, (tuple, list)) and len(image_size) == 2 and all(is_whole(s, 1, 4096) for s in image_size)
        require(pair, "image_size", image_size, "(height, width) in pixels, each from 1 to 4096")
        image_size = (image_size[0], image_size[1])
    if path is not None and not isinstance(path, (str, os.PathLike)):
        raise DataError(f"data {path!r}: expected a path or the name of a data set")
    if path is None:
        found = _default(say)
    elif str(path) in _NAMED and not Path(path).exists():
        found = _NAMED[str(path)](say)
    else:
        found = _read(Path(path), image_size, skip_bad_images, groups, say)
    if groups is not None and any(part.groups is None for part in found.parts.values()):
        raise DataError(
            f"{found.name} has no file names, so no groups by {groups}: expected an image folder; in an HDF5 file,"
            " 'groups' has the group of each image"
        )
    if image_size is not None and tuple(image_size) != found.image_size:
        raise DataError(
            f"{found.name}: images are {size_text(*found.image_size)}, not {size_text(*image_size)};"
            " only images of a folder can be resized"
        )
    return found


def _read(path: Path, image_size: tuple[int, int] | None, skip_bad_images: bool, groups: str | None, say: Say) -> Parts:
    from minisqx.data import cifar10, hdf5

    try:
        if path.is_dir():
            unpacked = cifar10.unpacked_folder(path)
            if unpacked is not None:
                folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
                if others := [folder.name for folder in folders if folder != unpacked]:
                    say(f"{str(path)!r} is read as CIFAR-10, from {unpacked.name!r}; not read: {listed(others)}")
                return Parts.of(cifar10.read_folder(unpacked))
            from minisqx.data.image_folder import open_image_folder

            return open_image_folder(path, image_size, skip_bad_images, say, groups)
        # Checked before opening, since opening a pipe waits for its other end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{str(path)!r} is neither a file nor a folder; {_EXPECTED}")
        with open(path, "rb") as file:
            start = file.read(8)
        if not start:
            raise DataError(f"{str(path)!r} is an empty file; {_EXPECTED}")
        if start.startswith(b"\x1f\x8b"):
            return cifar10.open_archive(path, say)
        if start == hdf5.SIGNATURE:
            return hdf5.read_hdf5(path, say)
    except FileNotFoundError as error:
        raise DataError(f"there is no file or folder {str(error.filename or path)!r}; {_EXPECTED}") from error
    except OSError as error:
        raise DataError(
            f"{str(error.filename or path)!r} can't be read ({error.strerror or error}); check the path and its permissions"
        ) from error
    except DataError:
        raise
    except ValueError as error:  # a NUL in the path
        raise DataError(f"{str(path)!r} can't be read ({error}); {_EXPECTED}") from error
    raise DataError(f"{str(path)!r} is neither a CIFAR-10 archive nor an HDF5 file; {_EXPECTED}")


_EXPECTED = "expected a CIFAR-10 archive or folder, an image folder (train/<class>/*, test/<class>/*) or an HDF5 file"


def _cifar10(say: Say) -> Parts:
    from minisqx.data.cifar10 import open_archive
    from minisqx.data.download import official_archive

    return open_archive(official_archive(say), say)


def _shapes(say: Say) -> Parts:
    from minisqx.data.shapes import draw_shapes

    return Parts.of(draw_shapes())


def _default(say: Say) -> Parts:
    from minisqx.data.download import Unreachable

    try:
        return _cifar10(say)
    except Unreachable as reason:
        say(
            f"CIFAR-10 NOT FOUND ({reason}): USING THE EMBEDDED SHAPES INSTEAD."
            " If you have CIFAR-10, give its archive or folder with --data."
        )
        return _shapes(say)


_NAMED = {"cifar10": _cifar10, "shapes": _shapes}
