"""The command `sweep`: many trainings that differ in a few options."""

import argparse
import functools
from pathlib import Path

from minisqx.errors import OptionError, TrainingError
from minisqx.machine.threads import thread_count
from minisqx.sweep import grid
from minisqx.training import options

MAX_JOBS = 1024
HELP = "train many networks that differ in a few options"
EXAMPLE = "minisqx sweep --width 0.1:0.5:0.1 --blocks 1111,1221 --seeds 3 --epochs 30 --out sweeps/widths"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """parser: one that resolves conflicts, since options with several values take the place of those with one."""
    options.add_run_arguments(parser)
    group = parser.add_argument_group("sweep", "the options above are those of all trials; the same command goes on after a stop")
    text = "width multipliers, such as 0.1,0.2, or from:to:step, such as 0.1:0.5:0.1"
    group.add_argument("--width", type=grid.numbers, metavar="W,W,...", default=argparse.SUPPRESS, help=text)
    text = "bottlenecks in each of the four stages, such as 1111,1221"
    group.add_argument("--blocks", type=grid.rows_of_blocks, metavar="ABCD,...", default=argparse.SUPPRESS, help=text)
    text = "dropout probabilities, as --width"
    group.add_argument("--dropout", type=grid.numbers, metavar="P,P,...", default=argparse.SUPPRESS, help=text)
    text = "trainings of each network, with the seeds from --seed on (default: 1)"
    group.add_argument("--seeds", type=options.whole, metavar="N", default=1, help=text)
    group.add_argument("--out", metavar="DIR", required=True, help="the sweep's folder")
    group.add_argument("--threads", type=options.whole, metavar="N", default=1, help="threads of a trial (default: 1)")
    text = "trials at a time (default: the available CPUs, divided by --threads)"
    group.add_argument("--jobs", type=options.whole, metavar="N", help=text)
    text = "begin the cheapest trials first, and none that would not be finished after so many hours"
    group.add_argument("--budget", type=options.number, metavar="HOURS", help=text)
    text = "train on the ranks that MPI has started: with `mpiexec -n 5 minisqx sweep --distributed`, four trials at a time"
    group.add_argument("--distributed", action="store_true", help=text)


def run(args: argparse.Namespace) -> int:
    """Returns the exit code: that of TrainingError if a trial failed."""
    given = options.given_options(args)
    values = {name: given.pop(name) for name in grid.SWEPT if name in given}
    sweep = grid.Grid(Path(given.pop("out")), values, given, args.seeds)
    jobs = max(1, thread_count()[0] // args.threads) if args.jobs is None else args.jobs
    if not 1 <= jobs <= MAX_JOBS:
        raise OptionError(f"jobs {jobs}: expected 1 to {MAX_JOBS} trials at a time")
    if args.budget is not None and not args.budget > 0:
        raise OptionError(f"budget {args.budget}: expected hours over 0")
    from minisqx.paper.tables import text
    from minisqx.sweep import results, runner

    say = functools.partial(print, flush=True)
    if not args.distributed:
        found = runner.run(sweep, jobs, say, args.budget)
    else:
        with runner.workers_of_mpi() as workers:
            if workers is None:
                return 0
            found = runner.run_on(*workers, sweep, say, args.budget)
    print(*text(results.summary(found)), sep="\n")
    return TrainingError.exit_code if any(result.status == results.FAILED for result in found) else 0
