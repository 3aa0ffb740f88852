"""`minisqx train --check-reproducible`: checks that a run gives the same bits on any number of threads, and stopped and resumed.

Each training runs in its own process (`train_in_process`), so that none can influence another.
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
# More than one batch of inference.
IMAGES = 130

Say = Callable[[str], object]


@dataclass(frozen=True)
class TrainingDigests:
    """SHA-256 digests, in hexadecimal, of the results of a training.

    weights: of parameters, running statistics and momentum. together, alone: of the probabilities for `IMAGES` training images,
    inferred as one list and one by one. layer: Numba's threading layer.
    """

    weights: str
    together: str
    alone: str
    layer: str


def check(options: TrainingOptions, say: Say) -> None:
    """Trains the first `BATCHES` batches of a run several times, and reports the digest of each training through `say`.

    Leaves no files. Raises ReproducibilityError if digests differ, and the errors that `train` raises at its start.
    """
    options = replace(options, data=_data(options, say))
    say(f"each line: SHA-256 of weights, running statistics and momentum after {BATCHES} batches")
    found = []
    with tempfile.TemporaryDirectory(prefix="minisqx-") as folder:
        for threads in THREADS:
            found.append(train_in_process(options, threads, BATCHES, Path(folder) / str(threads)))
            say(f"{found[-1].weights}  threads: {threads}")
        run = Path(folder) / "stopped"
        train_in_process(options, THREADS[-1], STOPPED_AFTER, run)
        found.append(train_in_process(options, THREADS[1], BATCHES - STOPPED_AFTER, run))
        say(f"{found[-1].weights}  stopped after batch {STOPPED_AFTER} and resumed, threads: {THREADS[-1]}, then {THREADS[1]}")
    say(f"{found[0].together}  probabilities for {IMAGES} images, inferred as one list")
    say(f"{found[0].alone}  probabilities for the same images, inferred one by one")
    groups = (
        ("weights", [one.weights for one in found]),
        ("probabilities", [digest for one in found for digest in (one.together, one.alone)]),
    )
    differ = [name for name, digests in groups if len(set(digests)) > 1]
    if differ:
        raise ReproducibilityError(
            f"the {' and the '.join(differ)} differ: expected the same bits from every training; report it with the"
            " output of `minisqx info`"
        )
    say("identical")


def _data(options: TrainingOptions, say: Say) -> str | None:
    """The name or absolute path of the data. Raises the errors that `train` would raise for these options."""
    from minisqx.training.data import open_training_data
    from minisqx.training.distillation import load_teacher
    from minisqx.training.run_folder import RunFolder
    from minisqx.training.trainer import Trainer

    data = open_training_data(options, say)
    # It raises OptionError for options that don't fit the data.
    Trainer(options, data, RunFolder(Path()), "", say, teacher=load_teacher(options.distill))
    if options.data is not None and Path(options.data).exists():
        return str(Path(options.data).absolute())
    # Otherwise every child process would try to download CIFAR-10.
    return "shapes" if data.name == "embedded shapes" else options.data


def train_in_process(
    options: TrainingOptions, threads: int, batches: int | None, folder: Path, environment: Mapping[str, str] | None = None
) -> TrainingDigests:
    """Trains in a child process, in the run folder `folder`; resumes a training that was stopped there.

    batches: the number to train; None: one epoch. environment: added to the variables of this process. Raises TrainingError if
    the process fails.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "NUMBA_NUM_THREADS"}
    job = {"options": replace(options, threads=threads, out=None).to_dict(), "batches": batches, "folder": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "minisqx.training.reproducible", json.dumps(job)],
        env=inherited | dict(environment or {}),
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode != 0:
        raise TrainingError(f"training on {threads} threads failed with exit code {done.returncode}: {done.stdout.strip()}")
    return TrainingDigests(**json.loads(done.stdout))


def _train(job: dict) -> TrainingDigests:
    """Runs in the child process."""
    options = TrainingOptions.from_dict(job["options"])
    from minisqx.machine.threads import use_threads

    use_threads(options.threads)
    import numba

    from minisqx.inference.model import load
    from minisqx.training.data import open_training_data
    from minisqx.training.distillation import load_teacher
    from minisqx.training.run_folder import RunFolder
    from minisqx.training.run_state import load_run
    from minisqx.training.trainer import Trainer

    path = Path(job["folder"])
    resumed = path.exists()
    with RunFolder.open(path) if resumed else RunFolder.create(str(path), "") as folder:
        initial = None if options.init is None else load(options.init)
        data, teacher = open_training_data(options, _silent, initial), load_teacher(options.distill)
        trainer = Trainer(options, data, folder, "", _silent, teacher=teacher)
        if resumed:
            trainer.restore(*load_run(folder, _silent))
        else:
            if initial is not None:
                trainer.begin_with(initial)
            folder.write_config(trainer.config())
        trainer.train_batches(job["batches"] or len(trainer.loader))
        trainer.save()
        checkpoint, _ = load_run(folder, _silent)
    model, images = load(folder.last), list(trainer.data.train.images[:IMAGES])
    together, alone = model.infer(images), [model.infer(image) for image in images]
    return TrainingDigests(checkpoint.sha256, _digest(together), _digest(alone), numba.threading_layer())


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
