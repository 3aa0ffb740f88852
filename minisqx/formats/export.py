"""`export`: a model in a format that other programs read. Each format has a module of its own."""

import os
from pathlib import Path

from minisqx.errors import OptionError
from minisqx.formats.c import c_files
from minisqx.formats.program import program_of
from minisqx.inference.model import Model, load
from minisqx.machine.folders import replace_file

# Format -> the ending of its file.
FORMATS = {"c": ".c"}


def export(model: Model | str | os.PathLike, path: str | os.PathLike, format: str | None = None, *, static: bool = False):
    """Writes a model for other programs; returns the paths of the files written, as a list.

    model: a `Model`, or what `load` takes. path: the file to write. format: one of `FORMATS`; None: that of the path's ending.
    static: of C, the working memory is a global of its own instead of the caller's.

    Each file is replaced only once the new one is complete on disk. Raises OptionError for a format that doesn't exist, an option
    that it doesn't have, or a path that can't be written; CheckpointError for a model without class names or normalisation.
    """
    target, chosen = _target(path), _format(path, format)
    if static and chosen != "c":
        raise OptionError(f"static with the format {chosen}: expected the format c, since no other has a working memory to place")
    program = program_of(model if isinstance(model, Model) else load(model))
    texts = c_files(program, target.stem, static)
    return [_written(target.with_name(name), text.encode()) for name, text in texts.items()]


def _format(path: str | os.PathLike, given: str | None) -> str:
    ending = Path(os.fsdecode(path)).suffix.lower()
    known = ", ".join(f"{name} ({end})" for name, end in FORMATS.items())
    if given is not None:
        if given not in FORMATS:
            raise OptionError(f"format {given!r}: expected one of {known}")
        return given
    found = [name for name, end in FORMATS.items() if end == ending]
    if not found:
        raise OptionError(f"{os.fsdecode(path)!r}: its ending names no format; expected one of {known}")
    return found[0]


def _target(path: str | os.PathLike) -> Path:
    target = Path(os.fsdecode(path))
    if target.is_dir():
        raise OptionError(f"{str(target)!r} is a folder: name a file in it")
    if not target.parent.is_dir():
        raise OptionError(f"{str(target)!r}: there is no folder {str(target.parent)!r}; create it first, or choose another")
    return target


def _written(path: Path, data: bytes) -> Path:
    try:
        replace_file(path, data)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise OptionError(f"{str(path)!r} can't be written ({why}); choose a writable folder with free space") from error
    return path
