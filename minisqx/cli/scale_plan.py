"""The command `scale-plan`: what training on several ranks would gain."""

import argparse
from collections.abc import Iterator

from minisqx.errors import OptionError
from minisqx.machine.threads import thread_count, use_threads
from minisqx.text import table
from minisqx.training import options

HELP = "say what training on several hosts would gain, from this machine's speed and their network's"
EXAMPLE = "minisqx scale-plan --width 1.0 --ranks 64 --latency-us 2 --bandwidth-gbs 12 --batch-size 1024"
MAX_RANKS = 4096
MAX_BATCH = 65_536
# Below this efficiency, more ranks cost more than they are worth.
PAYS = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_model_arguments(parser)
    group = parser.add_argument_group("ranks")
    group.add_argument("--ranks", type=options.whole, metavar="N", default=16, help="the most ranks (default: 16)")
    text = "time of a small message between two hosts, in microseconds (default: 30, as of an ordinary network; fast ones have 2)"
    group.add_argument("--latency-us", type=options.number, metavar="US", default=30.0, help=text)
    text = "gigabytes a second that a host can receive (default: 1.25, as of 10 Gbit/s)"
    group.add_argument("--bandwidth-gbs", type=options.number, metavar="GB/S", default=1.25, help=text)
    group.add_argument("--batch-size", type=options.whole, metavar="N", default=128, help="images per step (default: 128)")
    group.add_argument("--threads", type=options.whole, metavar="N", help="threads of a rank (default: all CPUs of this machine)")


def run(args: argparse.Namespace) -> int:
    spec = options.given_network(args)
    for name, value, most in (("ranks", args.ranks, MAX_RANKS), ("batch size", args.batch_size, MAX_BATCH)):
        if not 1 <= value <= most:
            raise OptionError(f"{name} {value}: expected 1 to {most}")
    for name, value in (("latency", args.latency_us), ("bandwidth", args.bandwidth_gbs)):
        if not 0 < value < 1e9:
            raise OptionError(f"{name} {value}: expected a number over 0")
    threads, source = thread_count(args.threads)
    use_threads(threads, source)
    from minisqx.training.scaling import plan

    print(
        f"{spec.name}, {spec.parameters} parameters, batch {args.batch_size}, {threads} threads a rank, measured on this machine"
    )
    found = list(plan(spec, args.batch_size, args.ranks, args.latency_us / 1e6, args.bandwidth_gbs * 1e9))
    print(*_lines(found, args), sep="\n")
    return 0


def _lines(found: list, args: argparse.Namespace) -> Iterator[str]:
    alone = found[0].step
    rows = [("ranks", "step (ms)", "computing (ms)", "exchanges", "MB", "exchanging (ms)", "times as fast", "efficiency")]
    for each in found:
        faster = alone / each.step
        times = (f"{1e3 * seconds:.2f}" for seconds in (each.step, each.computing, each.exchanging))
        step, computing, exchanging = times
        moved = (str(each.exchanges), f"{each.moved / 1e6:.2f}", exchanging)
        rows.append((str(each.ranks), step, computing, *moved, f"{faster:.2f}", f"{faster / each.ranks:.2f}"))
    yield from table(rows, left=0)
    best = min(found, key=lambda each: each.step)
    worth = max((each for each in found if alone / each.step / each.ranks >= PAYS), key=lambda each: each.ranks)
    yield f"It pays up to {worth.ranks} ranks (efficiency {PAYS} or more); {best.ranks} are the fastest."
    if args.ranks > found[-1].ranks:
        yield (
            f"A batch of {args.batch_size} images has {found[-1].ranks} chunks, so no more ranks can take part: a larger"
            " --batch-size has more, and needs another learning rate."
        )
    yield (
        f"For several trainings take `minisqx sweep` instead: {args.ranks} at once end {args.ranks} in the time of one"
        f" ({1e3 * alone:.2f} ms a step); one after the other, each on all ranks, they take"
        f" {args.ranks * best.step / alone:.1f} times that."
    )
