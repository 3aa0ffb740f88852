"""The page that `minisqx compare` writes of several run folders."""

from collections.abc import Sequence
from pathlib import Path

from minisqx.errors import OptionError, TrainingError
from minisqx.machine.folders import replace_file
from minisqx.report.comparison import Run, html
from minisqx.training.run_folder import RunFolder, reason
from minisqx.training.run_state import load_run


def compare(folders: Sequence[str], out: Path, say) -> Path:
    """Writes the page of these run folders to `out`, and returns it.

    Raises OptionError for fewer than two runs, TrainingError if one is no run with an epoch, or the file can't be written.
    """
    places = {Path(folder).resolve(): folder for folder in folders}
    if len(places) < 2:
        raise OptionError(f"{len(places)} run to compare: expected two or more run folders")
    runs = [_read(folder, say) for folder in places.values()]
    try:
        replace_file(out, html(runs).encode())
    except OSError as error:
        raise TrainingError(f"can't write {str(out)!r} ({reason(error)}): choose another file with --out") from None
    return out


def _read(name: str, say) -> Run:
    folder = RunFolder.open(name)
    config = folder.read_config()
    checkpoint, state = load_run(folder, say)
    if not state.history:
        raise TrainingError(f"{name!r} has no complete epoch yet: compare it later")
    return Run(name, checkpoint.spec, state.history, state.best_epoch, config)
