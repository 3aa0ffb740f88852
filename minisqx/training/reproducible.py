"""`minisqx train --check-reproducible`: whether a run has the same bits on any number of threads, stopped and resumed, or not.

Each training is a process of its own, started by `trained`, so that nothing of one is seen by another.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from minisqx.errors import MinisqxError, ReproducibilityError, TrainingError
from minisqx.training.options import TrainingOptions

BATCHES, STOPPED_AFTER = 40, 17
THREADS = (1, 2, 3, 4)
# More than are inferred at once.
IMAGES = 130

Say = Callable[[str], object]


@dataclass(frozen=True)
class Trained:
    """SHA-256, as hexadecimal digits, of what a training gave.

    weights: of all parameters, running statistics and momentum. together, alone: of what the network then says of `IMAGES`
    training images, as one list and one after the other. layer: Numba's threading layer.
    """

    weights: str
    together: str
    alone: str
    layer: str


def check(options: TrainingOptions, say: Say) -> None:
    """Trains the first `BATCHES` batches of the run that `options` describe, again and again; says what each training gave.

    No file is left behind. Raises ReproducibilityError if two differ by a bit, and whatever `train` would raise at its start.
    """
    options = replace(options, data=_data(options, say))
    say(f"each line: SHA-256 of weights, running statistics and momentum after {BATCHES} batches")
    found = []
    with tempfile.TemporaryDirectory(prefix="minisqx-") as folder:
        for threads in THREADS:
            found.append(trained(options, threads, BATCHES, Path(folder) / str(threads)))
            say(f"{found[-1].weights}  threads: {threads}")
        run = Path(folder) / "stopped"
        trained(options, THREADS[-1], STOPPED_AFTER, run)
        found.append(trained(options, THREADS[1], BATCHES - STOPPED_AFTER, run))
        say(f"{found[-1].weights}  stopped after batch {STOPPED_AFTER} and resumed, threads: {THREADS[-1]}, then {THREADS[1]}")
    say(f"{found[0].together}  what the network says of {IMAGES} images in one list")
    say(f"{found[0].alone}  of the same images one after the other")
    kinds = (
        ("weights", [one.weights for one in found]),
        ("answers", [digest for one in found for digest in (one.together, one.alone)]),
    )
    differ = [what for what, digests in kinds if len(set(digests)) > 1]
    if differ:
        raise ReproducibilityError(
            f"the {' and the '.join(differ)} differ: expected the same bits from every training; report it with what"
            " `minisqx info` prints"
        )
    say("identical")


def _data(options: TrainingOptions, say: Say) -> str | None:
    """The data's name or absolute path, once it is known to be usable."""
    from minisqx.training.data import open_training_data
    from minisqx.training.run_folder import RunFolder
    from minisqx.training.trainer import Trainer

    data = open_training_data(options, say)
    Trainer(options, data, RunFolder(Path()), "", say)  # refuses what it can't train
    if options.data is not None and Path(options.data).exists():
        return str(Path(options.data).absolute())
    # So that not every child looks for a network.
    return "shapes" if data.name == "embedded shapes" else options.data


def trained(
    options: TrainingOptions, threads: int, batches: int | None, folder: Path, environment: Mapping[str, str] | None = None
) -> Trained:
    """Has another process train in the run folder `folder`, on from where an earlier one stopped there.

    batches: how many; None: those of one epoch. environment: variables beside this process's own.
    """
    plain = {name: value for name, value in os.environ.items() if name != "NUMBA_NUM_THREADS"}
    order = {"options": replace(options, threads=threads, out=None).to_dict(), "batches": batches, "folder": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "minisqx.training.reproducible", json.dumps(order)],
        env=plain | dict(environment or {}),
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode != 0:
        raise TrainingError(
            f"a training on {threads} threads ended with code {done.returncode} ({done.stdout.strip()}): expected 0"
        )
    return Trained(**json.loads(done.stdout))


def _train(order: dict) -> Trained:
    """What a child does."""
    options = TrainingOptions.from_dict(order["options"])
    from minisqx.machine.threads import use_threads

    use_threads(options.threads)
    import numba

    from minisqx.inference.model import load
    from minisqx.training.data import open_training_data
    from minisqx.training.run_folder import RunFolder
    from minisqx.training.run_state import load_run
    from minisqx.training.trainer import Trainer

    path = Path(order["folder"])
    begun = path.exists()
    with RunFolder.open(path) if begun else RunFolder.create(str(path), "") as folder:
        trainer = Trainer(options, open_training_data(options, _silent), folder, "", _silent)
        if begun:
            trainer.restore(*load_run(folder, _silent))
        else:
            folder.write_config(trainer.config())
        checkpoint = trainer.train_batches(order["batches"] or len(trainer.loader))
    model, images = load(folder.last), list(trainer.data.train.images[:IMAGES])
    together, alone = model.infer(images), [model.infer(image) for image in images]
    return Trained(checkpoint.sha256, _digest(together), _digest(alone), numba.threading_layer())


def _digest(predictions) -> str:
    import hashlib

    return hashlib.sha256(b"".join(prediction.probabilities.tobytes() for prediction in predictions)).hexdigest()


def _silent(line: str) -> None:
    pass


if __name__ == "__main__":
    try:
        print(json.dumps(vars(_train(json.loads(sys.argv[1])))))
    except MinisqxError as error:
        print(error)
        sys.exit(error.exit_code)
