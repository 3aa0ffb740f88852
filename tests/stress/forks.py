"""Processes forked while threads are inside `infer`, after a training, and spawned ones: each must give the right results.

python -m tests.stress.forks --forks 100 --spawns 20
"""

import argparse
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

from tests.stress.threads import answer, jobs, models, train

SECONDS = 600  # time limit for a child, which takes a second or two; a busy machine needs a hundred times as long
AT_ONCE = 5  # processes that run in parallel
RIGHT, WRONG = 0, 1


def default():
    import minisqx
    from minisqx.spec.zoo import DEFAULT

    return minisqx.load(DEFAULT)


def right(expected: list[bytes], nets=None) -> bool:
    """Whether a few images and lists get the expected results."""
    (net, *_), work = nets or [default()], jobs()
    return [answer(net, job) for job in (*work[:5], *work[-2:])] == expected


def ended_right(pid: int) -> bool:
    """Whether a child exits with 0 in time."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status) == RIGHT
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    print(f"a child hung for {SECONDS} s")
    return False


def fork(child) -> bool:
    pid = os.fork()
    if pid:
        return ended_right(pid)
    code = WRONG
    try:
        code = RIGHT if child() else WRONG
    finally:
        sys.stderr.flush()
        os._exit(code)


def trains_or_refuses(trained: str) -> bool:
    """In a child: whether training gives the same weights, or a one-line error if GNU OpenMP can't continue."""
    from minisqx.errors import TrainingError
    from minisqx.kernels.compiler.alone import threading_layer

    try:
        return train() == trained
    except TrainingError as error:
        return threading_layer() == "omp" and "spawn" in str(error)


def spawned(expected: list[bytes], trained: str) -> None:
    sys.exit(RIGHT if right(expected) and train() == trained else WRONG)


def stress(forks: int, spawns: int) -> bool:
    from minisqx.kernels.compiler.alone import threading_layer
    from minisqx.machine.threads import use_threads

    use_threads(2)
    nets, work = models(), jobs()
    expected = [answer(nets[0], job) for job in (*work[:5], *work[-2:])]
    trained, done = train(), threading.Event()

    def keeps_inferring() -> None:
        while not done.is_set():
            for job in work:
                answer(nets[0], job)

    def keeps_training() -> None:
        while not done.is_set():
            train()

    targets = (keeps_inferring, keeps_inferring, keeps_training) if forks else ()
    busy = [threading.Thread(target=target) for target in targets]
    for thread in busy:
        thread.start()
    found = 0
    for _ in range(forks):
        found += fork(lambda: right(expected, nets) and right(expected) and trains_or_refuses(trained))
    done.set()
    for thread in busy:
        thread.join()
    if forks:
        print(
            f"{threading_layer()}: {found} of {forks} forks right, while 2 threads infer and one trains: each infers with"
            " its parent's model and one of its own, and trains or says in one line that it can't",
            flush=True,
        )
    context, started = multiprocessing.get_context("spawn"), 0
    for first in range(0, spawns, AT_ONCE):
        processes = [
            context.Process(target=spawned, args=(expected, trained)) for _ in range(first, min(first + AT_ONCE, spawns))
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(SECONDS)
            if process.exitcode is None:
                print(f"a child hung for {SECONDS} s")
            started += process.exitcode == RIGHT
            process.kill()
    if spawns:
        print(f"{threading_layer()}: {started} of {spawns} spawned processes right", flush=True)
    return found == forks and started == spawns


def cold(delay: float) -> bool:
    """Forks during the first inference, when kernels are being loaded, plans made and locks held."""
    nets, work = models(), jobs()
    first = threading.Thread(target=lambda: [answer(net, work[-1]) for net in nets])
    first.start()
    time.sleep(delay)
    expected: list[bytes] = []
    reader, writer = os.pipe()

    def child() -> bool:
        os.write(writer, answer(nets[0], work[0]))
        return True

    ended = fork(child)
    os.close(writer)
    first.join()
    expected = [answer(nets[0], work[0])]
    with os.fdopen(reader, "rb") as pipe:
        return ended and [pipe.read()] == expected


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--forks", type=int, default=100)
    parser.add_argument("--spawns", type=int, default=20)
    parser.add_argument("--cold", type=int, default=20, help="processes that fork during their first inference")
    parser.add_argument("--layer", choices=("omp", "workqueue", "tbb"), help="default: Numba's choice")
    parser.add_argument("--after", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.after is not None:
        return 0 if cold(args.after) else 1
    if args.layer:
        os.environ["NUMBA_THREADING_LAYER"] = args.layer
    # The delays are spread over the duration of the first inference.
    command, right_ones = [sys.executable, "-m", "tests.stress.forks", "--after"], 0
    for first in range(0, args.cold, AT_ONCE):
        delays = [0.4 * n / args.cold for n in range(first, min(first + AT_ONCE, args.cold))]
        processes = [subprocess.Popen([*command, str(delay)]) for delay in delays]
        right_ones += sum(process.wait(2 * SECONDS) == RIGHT for process in processes)
    if args.cold:
        print(f"{right_ones} of {args.cold} forks during a first inference right", flush=True)
    return 0 if stress(args.forks, args.spawns) and right_ones == args.cold else 1


if __name__ == "__main__":
    sys.exit(main())
