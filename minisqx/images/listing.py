"""The image files of a folder."""

import os
from collections.abc import Iterator, Sequence

from minisqx.errors import ImageError

# Files with these suffixes are taken for images, even if they are damaged or in a format that isn't read.
SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm"),
    *(".tif", ".tiff", ".avif", ".heic", ".heif", ".jp2", ".jxl"),
)


def entries(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    """What is in a folder, sorted by name, without names that start with a dot. Raises OSError."""
    with os.scandir(os.fspath(folder)) as found:
        return sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)


def images_below(folder: str | os.PathLike[str]) -> Iterator[str]:
    """The paths of all image files in a folder and the folders below it, in a fixed order: those of one folder by name.

    Only one folder's names are kept at a time, for each level. Links to folders are not followed, since one may lead back.
    Raises OSError.
    """
    for entry in entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from images_below(entry.path)
        elif entry.name.casefold().endswith(SUFFIXES):
            yield entry.path


def images_of(names: Sequence[str]) -> Iterator[str]:
    """The images that a person names: a folder stands for the image files below it, any other name for itself.

    Raises ImageError for a folder without image files, OSError for one that can't be read.
    """
    for name in names:
        if not os.path.isdir(name):
            yield name
            continue
        found = False
        for path in images_below(name):
            found = True
            yield path
        if not found:
            raise ImageError(f"the folder {name!r} has no image files: expected names that end with .png, .jpg and so on")
