"""A folder of image files: `train/<class>/*` and `test/<class>/*`, or `<class>/*` alone, which is then divided.

Classes are the training part's folders in the order of their names. Names that start with a dot are passed over.
"""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from minisqx.data.cache import cached, file_state
from minisqx.data.dataset import Dataset, Say, check_bytes, check_classes, divided, size_text
from minisqx.errors import DataError, ImageError
from minisqx.images import load_image
from minisqx.threads import thread_count

DEFAULT_SIZE = (32, 32)
OF_THE_MACHINE = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE)

Listing = list[tuple[str, list[Path]]]


def open_image_folder(path: Path, image_size: tuple[int, int] | None, skip_bad_images: bool, say: Say) -> Dataset:
    """The images of the folder `path`, decoded once and then kept in the cache folder.

    image_size: (height, width) to which every image is brought, its shorter side resized and the centre cut out. None: the
    size that all images have, or 32 x 32 if they differ.
    skip_bad_images: leave out files that are no usable images, with a line for each.
    Raises DataError for a file that is no image (unless it is to be left out), an empty class, or a class that only the test part
    has, or of which nothing is left.
    """
    parts = list_images(path)
    files = [(part, label, file_state(file)) for part, listing in parts.items() for label, images in listing for file in images]
    state = [image_size, skip_bad_images, files]
    dataset = cached(path, state, lambda: read_image_folder(path, parts, image_size, skip_bad_images, say), say)
    for line in dataset.skipped:
        say(line)
    return dataset


def list_images(path: Path) -> dict[str, Listing]:
    """The files of each part: {"train": [(class, files), ...], "test": [...]}, or {"train": ...} alone if there is one part."""
    folders = {entry.name for entry in _entries(path) if entry.is_dir()}
    if "test" in folders and "train" not in folders:
        raise DataError(
            f"{str(path)!r} has a folder 'test' but none called 'train'; expected train/<class>/* beside test/<class>/*"
        )
    if "train" not in folders:
        return {"train": _list_classes(path)}
    parts = {part: _list_classes(path / part) for part in ("train", "test") if part in folders}
    known = {label for label, _ in parts["train"]}
    for label, _ in parts.get("test", ()):
        if label not in known:
            raise DataError(
                f"{str(path / 'test' / label)!r} is a class that 'train' does not have; expected the same classes in both"
            )
    return parts


def _entries(path: Path) -> list[os.DirEntry]:
    with os.scandir(path) as found:
        return sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _list_classes(path: Path) -> Listing:
    listing = []
    for entry in _entries(path):
        if not entry.is_dir():
            raise DataError(f"{entry.path!r} lies in no class folder; expected {str(path / '<class>' / '<image>')!r}")
        files = []
        for image in _entries(Path(entry.path)):
            if not image.is_file():
                raise DataError(f"{image.path!r} is not a file; expected the images of the class {entry.name!r} and nothing else")
            files.append(Path(image.path))
        if not files:
            raise DataError(f"{entry.path!r} is an empty class folder: put images there or remove it")
        listing.append((entry.name, files))
    if not listing:
        raise DataError(f"{str(path)!r} is an empty folder; expected {str(path / '<class>' / '<image>')!r}")
    return listing


def read_image_folder(
    path: Path, parts: dict[str, Listing], image_size: tuple[int, int] | None, skip_bad_images: bool, say: Say
) -> Dataset:
    """Decodes what `list_images` found."""
    name = f"image folder {path.resolve().name!r}"
    classes = tuple(label for label, _ in parts["train"])
    check_classes(name, classes)
    labels = {
        part: np.array([classes.index(label) for label, files in listing for _ in files], np.int64)
        for part, listing in parts.items()
    }
    files = {part: [file for _, images in listing for file in images] for part, listing in parts.items()}
    everything = [file for part in files.values() for file in part]
    try:
        images, bad = decode_images(name, everything, image_size, skip_bad_images)
    except _SizesDiffer:
        say(f"{name}: images differ in size; each is brought to {size_text(DEFAULT_SIZE)} pixels")
        images, bad = decode_images(name, everything, DEFAULT_SIZE, skip_bad_images)
    count = len(files["train"])
    good = np.array([index not in bad for index in range(len(everything))])
    _check_classes_left(parts, good)
    if bad:
        images = images[good]
        labels["train"] = labels["train"][good[:count]]
        if "test" in parts:
            labels["test"] = labels["test"][good[count:]]
        count = int(good[:count].sum())
    if "test" not in parts:
        dataset = divided(name, classes, images, labels["train"], say)
    else:
        dataset = Dataset(name, classes, images[:count], labels["train"], images[count:], labels["test"])
    return replace(dataset, skipped=tuple(f"skipped: {bad[index]}" for index in sorted(bad)))


def _check_classes_left(parts: dict[str, Listing], good: np.ndarray) -> None:
    at = 0
    for listing in parts.values():
        for _, files in listing:
            if not good[at : at + len(files)].any():
                raise DataError(
                    f"{str(files[0].parent)!r} has no usable image, so that nothing of its class is left: put one there"
                )
            at += len(files)


class _SizesDiffer(Exception):
    """Images of no common size, where none was asked for."""


def decode_images(
    name: str, files: list[Path], image_size: tuple[int, int] | None, skip_bad_images: bool
) -> tuple[np.ndarray, dict[int, str]]:
    """All `files` as uint8 (N, H, W, 3), decoded by several threads, and of those that are no usable images, index -> why.

    image_size: (height, width), or None for the first usable image's size: then another size raises _SizesDiffer.
    Raises DataError for an unusable image unless skip_bad_images; then its pixels are 0. `name` is for messages.
    """
    bad: dict[int, str] = {}

    def load(index: int) -> np.ndarray | None:
        try:
            return load_image(files[index], image_size)
        except ImageError as error:
            # The reader's own line names the file.
            if not skip_bad_images or not _is_content(error):
                raise DataError(f"the data set has a file that is no usable image: {error}") from error
            bad[index] = str(error)
            return None

    size = image_size or next((image.shape[:2] for image in map(load, range(len(files))) if image is not None), DEFAULT_SIZE)
    check_bytes(name, len(files), size)
    images = np.zeros((len(files), *size, 3), np.uint8)

    def decode(index: int) -> None:
        image = load(index)
        if image is None:
            return
        if image.shape[:2] != size:
            raise _SizesDiffer
        images[index] = image

    with ThreadPoolExecutor(thread_count()[0], "minisqx-images") as pool:
        for _ in pool.map(decode, range(len(files))):
            pass
    return images, bad


def _is_content(error: ImageError) -> bool:
    """Whether the file is at fault, and not the machine that reads it: that would make another data set each time."""
    return not isinstance(error.__context__, MemoryError) and getattr(error.__context__, "errno", None) not in OF_THE_MACHINE
