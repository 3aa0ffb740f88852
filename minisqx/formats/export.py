"""`export`: a model in a format that other programs read. Each format has a module of its own."""

import os
from pathlib import Path

from minisqx.checkpoint import save_checkpoint
from minisqx.checkpoint.safetensors_file import safetensors_file
from minisqx.checkpoint.torch_file import torch_file
from minisqx.errors import OptionError
from minisqx.formats.c import c_files
from minisqx.formats.folding import folded
from minisqx.formats.onnx_file import onnx_file
from minisqx.formats.page import module_file, page_file
from minisqx.formats.program import program_of
from minisqx.formats.torch_module import module_source
from minisqx.inference.model import Model, load
from minisqx.machine.folders import replace_file
from minisqx.spec import NetworkSpec

# Format -> the ending of its file.
FORMATS = {
    "c": ".c",
    "html": ".html",
    "mjs": ".mjs",
    "onnx": ".onnx",
    "py": ".py",
    "pt": ".pt",
    "safetensors": ".safetensors",
    "h5": ".h5",
}


def export(
    model: Model | str | os.PathLike,
    path: str | os.PathLike,
    format: str | None = None,
    *,
    static: bool = False,
    image_input: bool = False,
    network: str | NetworkSpec | None = None,
) -> list[Path]:
    """Writes a model for other programs, or one of theirs as a checkpoint; returns the paths of the files written.

    model: a `Model`, or what `load` takes. path: the file to write. format: one of `FORMATS`; None: that of the path's ending.
    static: of C, the working memory is a global of its own instead of the caller's. image_input: of ONNX, uint8 images
    (N, H, W, 3) in and probabilities out, instead of normalised x (N, 3, H, W) and logits. network: as in `load`.

    Each file is replaced only once the new one is complete on disk. Raises OptionError for a format that doesn't exist, an option
    that it doesn't have, or a path that can't be written; CheckpointError for a model that can't be read, or, but for pt,
    safetensors and h5, without class names or normalisation; MissingExtraError for a package that isn't installed.
    """
    target, chosen = _target(path), _format(path, format)
    if static and chosen != "c":
        raise OptionError(f"static with the format {chosen}: expected the format c, since no other has a working memory to place")
    if image_input and chosen != "onnx":
        raise OptionError(f"image_input with the format {chosen}: expected the format onnx; no other has another input")
    given = _opened(model, network)
    match chosen:
        case "c":
            files = {name: text.encode() for name, text in c_files(folded(program_of(given)), target.stem, static).items()}
        case "html":
            files = {target.name: page_file(folded(program_of(given))).encode()}
        case "mjs":
            files = {target.name: module_file(folded(program_of(given))).encode()}
        case "onnx":
            program = folded(program_of(given))
            files = {target.name: onnx_file(program, tuple(given.mean or ()), tuple(given.std or ()), image_input)}
        case "py":
            files = {f"{target.stem}.py": module_source(given, target.stem).encode()}
            files[f"{target.stem}.pt"] = torch_file(given.checkpoint)
        case "pt":
            files = {target.name: torch_file(given.checkpoint)}
        case "safetensors":
            files = {target.name: safetensors_file(given.checkpoint)}
        case _:
            save_checkpoint(target, given.checkpoint)
            return [target]
    return [_written(target.with_name(name), data) for name, data in files.items()]


def _opened(model: Model | str | os.PathLike, network: str | NetworkSpec | None) -> Model:
    if not isinstance(model, Model):
        return load(model, network=network)
    if network is not None:
        raise OptionError("a network is named beside a Model, which has its own; leave it out")
    return model


def _format(path: str | os.PathLike, given: str | None) -> str:
    ending = Path(os.fsdecode(path)).suffix.lower().replace(".pth", ".pt")  # the same format
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
