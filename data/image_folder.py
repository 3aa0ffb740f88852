"""A folder of image files: `train/<class>/*`, optionally `val/<class>/*` and `test/<class>/*`; or only `<class>/*`.

Classes are the folders of the training part, sorted by name. With groups by folder (`groups`), files lie one level deeper,
`<class>/<group>/*`. Names that start with a dot are ignored. Anything else that is not read is reported or refused.
"""

import errno
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL

from minisqx.data import FOLDER
from minisqx.data.cache import cached, content_digests
from minisqx.data.classes import likeness_line, listed, match_classes
from minisqx.data.dataset import Part, Say, check_bytes, check_classes
from minisqx.data.groups import with_groups
from minisqx.data.parts import Parts
from minisqx.errors import DataError, ImageError
from minisqx.images.files import opened
from minisqx.images.listing import SUFFIXES, entries
from minisqx.images.load import MAX_BYTES, load_image
from minisqx.machine.limits import megabytes, size_text
from minisqx.machine.threads import thread_count

DEFAULT_SIZE = (32, 32)
LARGE_PIXELS = 128 * 128  # above this size of an image, a message says how much memory the images take
MACHINE_ERRORS = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE)
# Folder name, in lower or upper case -> part of the data set.
PARTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
Listing = list[tuple[str, list[Path]]]


def open_image_folder(
    path: Path, image_size: tuple[int, int] | None, skip_bad_images: bool, say: Say, groups: str | None = None
) -> Parts:
    """The images of the folder `path`, decoded once and then cached.

    image_size: (height, width) of every image after resizing its shorter side and cropping the centre. None: the size of all
    images, or 32 x 32 if they differ.
    skip_bad_images: skip files that are not usable images, with a line for each.
    groups: one of `GROUPINGS`, or None.
    Raises DataError for a file that is not an image (unless skipped), a class that is empty, has no usable image or is not in
    the training part, and for an ambiguous folder.
    """
    parts = list_images(path, say, grouped=groups == FOLDER)
    names = [
        (part, label, file.relative_to(path).as_posix())
        for part, listing in parts.items()
        for label, images in listing
        for file in images
    ]
    files = [file for listing in parts.values() for _, images in listing for file in images]

    def state() -> list:
        # Versions of Pillow may decode to different pixels.
        return [image_size, skip_bad_images, PIL.__version__, names, content_digests(files, MAX_BYTES)]

    found = cached(path, state, lambda: read_image_folder(path, parts, image_size, skip_bad_images, say), say)
    for line in found.skipped:
        say(line)
    height, width = found.image_size
    if image_size is None and height * width > LARGE_PIXELS:
        say(
            f"{found.name}: all images have {size_text(*found.image_size)} and are not resized: they take"
            f" {megabytes(sum(part.images.nbytes for part in found.parts.values()))} of memory, and training takes much more;"
            " resize them with --image-size 64, say"
        )
    return replace(found, groups=groups, parts={part: with_groups(content, groups) for part, content in found.parts.items()})


def list_images(path: Path, say: Say, grouped: bool = False) -> dict[str, Listing]:
    """The files of each part as [(class, files), ...]; only {"train": ...} if the folder is not divided into parts.

    grouped: whether the files of a class lie in folders.
    """
    folders = [entry for entry in entries(path) if entry.is_dir()]
    named = {entry.name: PARTS[entry.name.casefold()] for entry in folders if entry.name.casefold() in PARTS}
    if not named:
        return {"train": _list_classes(path, grouped)}
    _check_are_parts(path, list(named))
    places: dict[str, Path] = {}
    for name, part in sorted(named.items(), key=lambda item: list(PARTS.values()).index(item[1])):
        if part in places:
            raise DataError(
                f"{str(path)!r} has the folders {places[part].name!r} and {name!r}, both the {part} part; expected one of them"
            )
        places[part] = path / name
    _check_other_entries(path, places, say)
    parts = {part: _list_classes(place, grouped) for part, place in places.items()}
    if "train" in parts:
        known = [label for label, _ in parts["train"]]
        parts |= {part: _known_classes(parts[part], known, places, part, say) for part in parts if part != "train"}
    return parts


def _check_are_parts(path: Path, named: Sequence[str]) -> None:
    """Raises DataError if every folder with a part's name may as well be a class, because it holds only files."""
    flat = [name for name in named if _is_class(path / name)]
    if len(flat) == len(named):
        may = "may be parts or classes: if parts" if len(flat) > 1 else "may be a part or a class: if a part"
        raise DataError(
            f"{str(path)!r}: {listed(flat)} {may}, put the images of each class into a folder, such as {flat[0]}/<class>/<image>,"
            f" and move those without a class elsewhere; if {'classes' if len(flat) > 1 else 'a class'}, put all class folders"
            f" into one called 'train', such as train/{flat[0]}/<image>"
        )


def _is_class(folder: Path) -> bool:
    """Whether the folder holds files and no folders."""
    found = entries(folder)
    return bool(found) and not any(entry.is_dir() for entry in found)


def _check_other_entries(path: Path, places: dict[str, Path], say: Say) -> None:
    """Reports other entries beside the parts; raises DataError if they have images, which may be classes in the wrong place."""
    others = [entry for entry in entries(path) if path / entry.name not in places.values()]
    images = [entry.name for entry in others if entry.is_dir() and _has_images(Path(entry.path), set())]
    place = next(iter(places.values())).name
    if images:
        raise DataError(
            f"{str(path)!r}: there are images in {listed(images)}, beside {listed([part.name for part in places.values()])}: if"
            f" these are classes, move them into {place!r}; if a part, call it train, val or test; if they do not belong to the"
            " data, move them elsewhere"
        )
    if others:
        say(f"{str(path)!r}: not read: {listed([entry.name for entry in others])}; expected only train, val and test")


def _has_images(folder: Path, seen: set[str]) -> bool:
    """Whether the folder or a folder below it holds an image; False for folders that this process may not read.

    seen: the folders visited so far, since a link may lead back to one.
    """
    with suppress(OSError):
        real = os.path.realpath(folder)
        if real in seen:
            return False
        seen.add(real)
        found = entries(folder)
        files = [entry for entry in found if entry.is_file()]
        return (
            any(file.name.casefold().endswith(SUFFIXES) for file in files)
            or any(_is_image(Path(file.path)) for file in files)
            or any(_has_images(Path(entry.path), seen) for entry in found if entry.is_dir())
        )
    return False


def _is_image(path: Path) -> bool:
    """Whether the file's content, not its name, is an image's."""
    with suppress(OSError, ImageError), open(path, "rb") as file:
        opened(file, os.fstat(file.fileno()).st_size, path.name)
        return True
    return False


def _known_classes(listing: Listing, known: Sequence[str], places: dict[str, Path], part: str, say: Say) -> Listing:
    """The listing with the class names of the training part. Raises DataError for a class that is not in it."""
    matched = match_classes([label for label, _ in listing], known)
    for label, _ in listing:
        if label not in matched:
            raise DataError(
                f"{str(places[part] / label)!r} is a class that {places['train'].name!r} does not have; expected the same classes"
                " in both: rename or remove it"
            )
    line = likeness_line(matched, f"those in {str(places['train'])!r}")
    if line is not None:
        say(line)
    return [(matched[label], files) for label, files in listing]


def _list_classes(path: Path, grouped: bool) -> Listing:
    listing = []
    for entry in entries(path):
        if not entry.is_dir():
            raise DataError(f"{entry.path!r} is not in a class folder; expected {str(path / '<class>' / '<image>')!r}")
        folders = _folders(entry) if grouped else [entry]
        files = [file for folder in folders for file in _files(Path(folder.path), entry.name)]
        if not files:
            raise DataError(f"{entry.path!r} is an empty class folder: put images there or remove it")
        listing.append((entry.name, files))
    if not listing:
        raise DataError(f"{str(path)!r} is an empty folder; expected {str(path / '<class>' / '<image>')!r}")
    return listing


def _folders(entry: os.DirEntry) -> list[os.DirEntry]:
    """The folders of a class, each of them a group."""
    found = entries(Path(entry.path))
    for group in found:
        if not group.is_dir():
            expected = Path(entry.path) / "<group>" / "<image>"
            raise DataError(f"{group.path!r} is not in the folder of a group; expected {str(expected)!r}")
    return found


def _files(folder: Path, label: str) -> list[Path]:
    found = entries(folder)
    for image in found:
        if not image.is_file():
            raise DataError(
                f"{image.path!r} is not a file; expected only images of the class {label!r}, or --groups {FOLDER} for folders"
                " of images that belong together"
            )
    return [Path(image.path) for image in found]


def read_image_folder(
    path: Path, listings: dict[str, Listing], image_size: tuple[int, int] | None, skip_bad_images: bool, say: Say
) -> Parts:
    """Decodes the files that `list_images` found."""
    name = f"image folder {path.resolve().name!r}"
    trained = [listings["train"]] if "train" in listings else listings.values()
    classes = tuple(sorted({label for listing in trained for label, _ in listing}))
    check_classes(name, classes)
    numbers = {label: number for number, label in enumerate(classes)}
    files = [file for listing in listings.values() for _, files in listing for file in files]
    try:
        images, bad = decode_images(name, files, image_size, skip_bad_images)
    except _SizesDiffer:
        say(f"{name}: images differ in size; all are resized to {size_text(*DEFAULT_SIZE)}")
        images, bad = decode_images(name, files, DEFAULT_SIZE, skip_bad_images)
    good = np.array([index not in bad for index in range(len(files))])
    _check_classes_left(listings, good)
    parts, at = {}, 0
    for part, listing in listings.items():
        labels = np.array([numbers[label] for label, members in listing for _ in members], np.int64)
        own = slice(at, at + len(labels))
        at += len(labels)
        # Without bad images a part is a view, not a copy.
        whole = Part(images[own], labels, tuple(file.relative_to(path).as_posix() for file in files[own]))
        parts[part] = whole.of(np.flatnonzero(good[own])) if bad else whole
    return Parts(name, classes, parts, skipped=tuple(f"skipped: {bad[index]}" for index in sorted(bad)))


def _check_classes_left(parts: dict[str, Listing], good: np.ndarray) -> None:
    at = 0
    for listing in parts.values():
        for _, files in listing:
            if not good[at : at + len(files)].any():
                raise DataError(f"{str(files[0].parent)!r} has no usable image, so its class would be empty: put one there")
            at += len(files)


class _SizesDiffer(Exception):
    """The images differ in size, and no size was given."""


def decode_images(
    name: str, files: list[Path], image_size: tuple[int, int] | None, skip_bad_images: bool
) -> tuple[np.ndarray, dict[int, str]]:
    """All `files` as uint8 (N, H, W, 3), decoded by several threads, and for unusable ones {index: reason}.

    image_size: (height, width), or None for the size of the first usable image; then _SizesDiffer is raised for any other.
    Raises DataError for an unusable image, or with skip_bad_images leaves its pixels 0. name: for messages.
    """
    bad: dict[int, str] = {}

    def load(index: int) -> np.ndarray | None:
        try:
            return load_image(files[index], image_size)
        except ImageError as error:
            # The error's own message names the file.
            if not skip_bad_images or not _is_content(error):
                raise DataError(f"the data set has a file that is not a usable image: {error}") from error
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
    """Whether the file causes the error, not the machine, whose errors would give a different data set each time."""
    return not isinstance(error.__context__, MemoryError) and getattr(error.__context__, "errno", None) not in MACHINE_ERRORS
