"""A training in its own process, with an injected fault: `python -m tests.stress.child FAULT ... -- train ...`."""

import argparse
import json
import mmap
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

from minisqx.checkpoint import model_file as checkpoint
from minisqx.cli import commands as cli
from minisqx.machine import folders
from minisqx.training import run_folder, trainer
from minisqx.training.run_folder import RunFolder
from minisqx.training.trainer import Trainer


def watch(path: str) -> None:
    """Sets the first byte of the mapped file to 1 while a checkpoint is written, which is still readable after a kill."""
    with open(path, "r+b") as file:
        flag = mmap.mmap(file.fileno(), 1)
    plain = Trainer.save

    def save(self) -> None:
        flag[0] = 1
        plain(self)
        flag[0] = 0

    Trainer.save = save


def in_batch(number: int, fault) -> None:
    """Calls `fault(trainer)` in batch `number`, counted from 1 in this process."""
    plain, count = Trainer._train_batch, 0

    def train_batch(self, batch):
        nonlocal count
        count += 1
        if count == number:
            fault(self)
        return plain(self, batch)

    Trainer._train_batch = train_batch


def full(name: str, number: int) -> None:
    """Simulates a full disk in the middle of the `number`-th write of the file `name`."""
    count = 0

    def replace_file(path: Path, data: bytes) -> None:
        nonlocal count
        count += path.name == name
        if path.name != name or count != number:
            return folders.replace_file(path, data)
        # Python ignores SIGXFSZ, so the write fails with EFBIG, after its first half.
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(data) // 2, before[1]))
        try:
            return folders.replace_file(path, data)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    checkpoint.replace_file = run_folder.replace_file = replace_file


def no_links() -> None:
    """Simulates a disk without hard links."""

    def link(*arguments, **settings):
        raise PermissionError(1, "Operation not permitted")

    os.link = link


def no_picture(*arguments):
    """Skips the curves, which take longer than the training."""
    raise ImportError


def become(uid: int) -> None:
    """Becomes another user, without the rights of the one that started this."""
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


def before_writing(fault) -> None:
    """Calls `fault()` before anything is written, when all modules and data are loaded."""
    for name in ("create", "save_last"):
        plain = getattr(RunFolder, name)
        setattr(RunFolder, name, lambda *arguments, plain=plain: (fault(), plain(*arguments))[1])


def log_images(prefix: str) -> None:
    """Writes a line of JSON for each batch that this process trains: the epoch, the batch, and the images of its chunks."""
    file, plain = open(f"{prefix}-{os.getpid()}", "w"), Trainer._train_batch  # noqa: SIM115

    def train_batch(self, batch):
        result, layout = plain(self, batch), batch.layout
        chunks, size = self.ranks.share(layout.chunks), layout.images_per_chunk
        images = batch.indices[chunks.start * size : chunks.stop * size].tolist()
        print(json.dumps({"epoch": self.state.epoch, "batch": self.state.batch, "images": images}), file=file, flush=True)
        return result

    Trainer._train_batch = train_batch


def slow_down(seconds: float) -> None:
    """Waits after each batch, so that a kill at a random time meets a run of the smallest network."""
    plain = Trainer._train_batch

    def train_batch(self, batch):
        time.sleep(seconds)
        return plain(self, batch)

    Trainer._train_batch = train_batch


def close(run: Trainer) -> None:
    """Makes the run's folder read-only."""
    run.folder.path.chmod(0o555)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress.child", description=__doc__)
    parser.add_argument("--watch", metavar="FILE", help="its first byte is 1 while a checkpoint is written")
    parser.add_argument("--save-every", type=float, metavar="SECONDS", default=trainer.SAVE_EVERY)
    parser.add_argument("--batch", type=int, metavar="N", help="the batch of the next three faults")
    parser.add_argument("--signal", metavar="NAME", help="send this process a signal")
    parser.add_argument("--remove", action="store_true", help="remove the run folder")
    parser.add_argument("--closed", action="store_true", help="make the run folder read-only")
    parser.add_argument("--full", metavar="FILE:N", help="simulate a full disk at the Nth write of this file")
    parser.add_argument("--no-links", action="store_true", help="simulate a disk without hard links")
    parser.add_argument(
        "--uid", type=int, metavar="N", help="become this user, with --closed then, else before anything is written"
    )
    parser.add_argument("--log", metavar="PREFIX", help="list the trained images in PREFIX-PID")
    parser.add_argument("--slow", type=float, default=0, metavar="SECONDS", help="wait after each batch")
    parser.add_argument("words", nargs="+", metavar="WORD", help="arguments of minisqx")
    chosen = parser.parse_args(arguments)
    trainer.SAVE_EVERY = chosen.save_every
    if chosen.slow:
        slow_down(chosen.slow)
    if chosen.log:
        log_images(chosen.log)
    if chosen.watch:
        watch(chosen.watch)
    if not chosen.full or not chosen.full.startswith("curves.png"):
        run_folder.draw_curves = no_picture
    if chosen.signal:
        if chosen.signal != "SIGKILL":
            # Under nohup SIGHUP would be ignored.
            signal.signal(getattr(signal, chosen.signal), signal.SIG_DFL)
        in_batch(chosen.batch, lambda _: os.kill(os.getpid(), getattr(signal, chosen.signal)))
    if chosen.remove:
        in_batch(chosen.batch, lambda run: shutil.rmtree(run.folder.path))
    if chosen.full:
        name, number = chosen.full.split(":")
        full(name, int(number))
    if chosen.no_links:
        no_links()
    if chosen.closed:
        in_batch(chosen.batch, lambda run: (close(run), chosen.uid is None or become(chosen.uid)))
    elif chosen.uid is not None:
        before_writing(lambda: become(chosen.uid))
    return cli.main(chosen.words)


if __name__ == "__main__":
    sys.exit(main())
