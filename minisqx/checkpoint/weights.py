"""`load_weights`: a checkpoint from a file of any format that holds weights, by its ending."""

import os
import stat

from minisqx.checkpoint.model_file import MAX_REASON, Checkpoint, load_checkpoint
from minisqx.errors import CheckpointError, MinisqxError, MissingExtraError, OptionError
from minisqx.spec import NetworkSpec

SAFETENSORS, PYTORCH = "safetensors", "PyTorch"
# Ending -> the format of others; a file with any other ending is a checkpoint of ours.
ENDINGS = {".safetensors": SAFETENSORS, ".pt": PYTORCH, ".pth": PYTORCH}


def load_weights(path: str | os.PathLike, network: NetworkSpec | None = None) -> Checkpoint:
    """Reads a checkpoint, a safetensors file or a PyTorch file.

    network: what a file of others holds that doesn't say it. Raises CheckpointError for a file that is missing, damaged or for
    another network, OptionError for a network beside a checkpoint, which describes its own, and MissingExtraError for a package
    that isn't installed.
    """
    ending = os.path.splitext(os.fsdecode(path))[1].lower() if isinstance(path, (str, bytes, os.PathLike)) else ""
    if ending in ENDINGS:
        return read_foreign(path, ENDINGS[ending], network)
    if network is not None:
        raise OptionError(
            f"a network is named beside a model that describes its own; expected it only with a file of {', '.join(ENDINGS)}"
        )
    return load_checkpoint(path)


def read_foreign(path: str | os.PathLike, format: str, network: NetworkSpec | None) -> Checkpoint:
    """Reads a file of the format `SAFETENSORS` or `PYTORCH`, whatever its ending."""
    # A checkpoint of ours needs none of these.
    if format == SAFETENSORS:
        from minisqx.checkpoint.safetensors_file import read_safetensors as read
    else:
        from minisqx.checkpoint.torch_file import read_torch as read
    shown = repr(os.fspath(path))
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise CheckpointError(f"{shown} is not a file; expected a {format} file")
        return read(os.fspath(path), network, shown)
    except (CheckpointError, MissingExtraError):
        raise
    except MinisqxError as error:
        raise CheckpointError(f"{shown} is damaged or not from minisqx ({error})") from error
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {shown}; expected a {format} file") from None
    except Exception as error:
        # Errors of the package, unforeseen JSON values, errors of the disk.
        why = " ".join(f"{type(error).__name__}: {error}".split())[:MAX_REASON]
        raise CheckpointError(f"{shown} can't be read as a {format} file ({why}); get it again from its source") from error
