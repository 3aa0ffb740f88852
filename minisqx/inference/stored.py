"""Images in HDF5 files by their names, such as photos.h5/test_images[17]: read one at a time, as they are needed."""

import functools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from minisqx.errors import ImageError
from minisqx.images.listing import images_of

_NAME = re.compile(r"(.+)/(\w*images)\[(\d+)\]", re.DOTALL)
SUFFIXES = (".h5", ".hdf5")


def names_of(names: Sequence[str]) -> Iterator[str]:
    """As `images_of`, and for an HDF5 file the images in it, one part after the other.

    Raises DataError for a file that can't be read, and the errors of `images_of`.
    """
    for name in names:
        if name.casefold().endswith(SUFFIXES) and os.path.isfile(name):
            for array, images in _arrays(name).items():
                yield from (f"{name}/{array}[{number}]" for number in range(len(images)))
        else:
            yield from images_of([name])


def stored_image(name: str) -> np.ndarray | None:
    """The image with a name of `names_of` in an HDF5 file, uint8 (H, W, 3); None for any other name.

    Raises ImageError if its part of the file is damaged.
    """
    found = None if os.path.lexists(name) else _NAME.fullmatch(name)
    if found is None or not found[1].casefold().endswith(SUFFIXES):
        return None
    try:
        return _arrays(found[1])[found[2]][int(found[3])]
    except (OSError, RuntimeError, KeyError, IndexError, ValueError) as error:
        raise ImageError(f"{name!r} can't be read ({' '.join(str(error).split())}): create or get the file again") from None


@functools.cache
def _arrays(path: str) -> dict:
    from minisqx.data.hdf5 import stored_images

    return stored_images(Path(path))
