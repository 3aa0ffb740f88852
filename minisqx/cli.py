"""The command line: `minisqx COMMAND ...`, the same as `python -m minisqx COMMAND ...`.

A fault ends with one line on stderr, without a traceback, and with the error's exit code.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence

from minisqx import options, training
from minisqx.errors import MinisqxError, OptionError
from minisqx.spec import NetworkSpec
from minisqx.threads import thread_count, use_threads

# What a shell reports of a program that was ended by the signals INT and PIPE.
INTERRUPTED = 130
BROKEN_PIPE = 141

MOST_BATCH = 65_536
MOST_REPEATS = 10_000_000
MOST_SECONDS = 3600


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code. `arguments` are those of the process by default."""
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal can't show is shown with escapes.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        args = _parser().parse_args(arguments)
        code = args.command(args)
        sys.stdout.flush()
        return code
    except MinisqxError as error:
        return _complain(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output (`head`, say) has enough; what is still in the buffer has no place to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _complain(error: MinisqxError) -> int:
    print("minisqx:", " ".join(str(error).split()), file=sys.stderr)
    return error.exit_code


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def __init__(self, *, example: str = "", **settings) -> None:
        epilog = f"example:\n  {example}" if example else None
        super().__init__(epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def error(self, message: str):
        self.exit(OptionError.exit_code, f"minisqx: {' '.join(message.split())}; see `{self.prog} --help`\n")


class _Version(argparse.Action):
    def __call__(self, parser, *_):
        from importlib.metadata import version

        print("minisqx", version("minisqx"))
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="minisqx",
        description="Train Shallow SqueezeNext on a CPU, and classify images with it.",
        example="minisqx infer cat.jpg",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run, help: str, example: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".", example=example)
        added.set_defaults(command=run)
        return added

    added = command("train", training.run, "train a network", "minisqx train --width 0.2 --epochs 30 --data cifar10")
    training.add_arguments(added)

    added = command("summary", _summary, "print a network's layers, parameters and multiply-adds", "minisqx summary --width 0.2")
    options.add_network_arguments(added)
    size = "side of the images in pixels, or height,width (default: 32)"
    added.add_argument("--input-size", type=_input_size, metavar="N", default=NetworkSpec.input_size, help=size)
    added.add_argument("--num-classes", type=int, metavar="N", default=NetworkSpec.num_classes, help="classes (default: 10)")

    added = command(
        "evaluate", _evaluate, "measure a model on a data set's test images", "minisqx evaluate best.h5 --data images/"
    )
    _add_model(added, "MODEL")
    data = "CIFAR-10 archive or folder, image folder or HDF5 file (default: found or downloaded CIFAR-10, else embedded data)"
    added.add_argument("--data", metavar="PATH", help=data)
    added.add_argument("--batch-size", type=int, metavar="N", default=256, help="images at a time (default: 256)")
    _add_threads(added)

    added = command("infer", _infer, "say what images show", "minisqx infer cat.jpg dog.png --topk 5")
    added.add_argument("images", nargs="+", metavar="IMAGE", help="PNG, JPEG, BMP, WebP, GIF, PPM or TIFF file of any size")
    added.add_argument("--topk", type=int, metavar="K", help="how many of the likeliest classes to print (default: 3)")
    _add_model(added, "--model")
    _add_threads(added)

    added = command("bench", _bench, "measure a model's speed on this machine", "minisqx bench --layers")
    _add_model(added, "--model")
    options.add_network_arguments(added)
    size = "side of the images in pixels, or height,width, of an untrained network (default: 32)"
    added.add_argument("--input-size", type=_input_size, metavar="N", default=argparse.SUPPRESS, help=size)
    added.add_argument("--layers", action="store_true", help="measure every layer, too")
    added.add_argument("--seconds", type=float, metavar="S", default=2.0, help="seconds for each measurement (default: 2)")
    repeats = "calls for each measurement, however long they take (default: as many as fit into --seconds)"
    added.add_argument("--repeats", type=int, metavar="N", help=repeats)
    _add_threads(added)

    added = command("warmup", _warmup, "compile the kernels of inference and training ahead", "minisqx warmup")
    _add_threads(added)

    added = command("info", _info, "print versions, CPU, threads and folders", "minisqx info")
    _add_threads(added)
    return parser


def _add_model(parser: argparse.ArgumentParser, name: str) -> None:
    text = "checkpoint file, or the name of weights that come with minisqx"
    if name.startswith("-"):
        text += f" (default: {NetworkSpec().name})"
    parser.add_argument(name, metavar="MODEL", help=text)


def _add_threads(parser: argparse.ArgumentParser) -> None:
    text = "threads (default: MINISQX_NUM_THREADS, else every CPU this process may use)"
    parser.add_argument("--threads", type=int, metavar="N", help=text)


def _input_size(text: str) -> tuple[int, ...]:
    try:
        sides = tuple(map(int, text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a side in pixels, or height,width") from None
    return sides * 2 if len(sides) == 1 else sides


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _summary(args: argparse.Namespace) -> int:
    from minisqx import report

    chosen = {name: getattr(args, name) for name in options.NETWORK_OPTIONS if hasattr(args, name)}
    _print(report.summary(NetworkSpec(num_classes=args.num_classes, input_size=args.input_size, **chosen)))
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    if not 1 <= args.batch_size <= MOST_BATCH:
        raise OptionError(f"batch size {args.batch_size}: expected 1 to {MOST_BATCH} images")
    use_threads(thread_count(args.threads)[0])
    from minisqx import report
    from minisqx.data import open_dataset
    from minisqx.evaluation import evaluate, model_labels
    from minisqx.inference import load
    from minisqx.warmup import announce_compiling

    announce_compiling()
    model = load(args.MODEL)
    dataset = open_dataset(args.data, image_size=model.network.spec.input_size)
    labels = model_labels(model, dataset.classes, dataset.test_labels)
    if set(dataset.classes) != set(model.classes):
        print("classes: matched by their numbers, since the data's names are not the model's", file=sys.stderr)
    print(f"{model.name} on the test images of {dataset.name}")
    _print(report.evaluation(evaluate(model, dataset.test_images, labels, args.batch_size)))
    return 0


def _infer(args: argparse.Namespace) -> int:
    use_threads(thread_count(args.threads)[0])
    from minisqx import report
    from minisqx.errors import ImageError
    from minisqx.inference import DEFAULT_MODEL, load
    from minisqx.warmup import announce_compiling

    announce_compiling()
    model = load(args.model or DEFAULT_MODEL)
    topk = min(3, len(model.classes)) if args.topk is None else args.topk
    if not 1 <= topk <= len(model.classes):
        raise OptionError(f"topk {topk}: expected 1 to {len(model.classes)}, the number of classes")
    code = 0
    for name in args.images:
        # One bad file among many does not keep the others' answers back.
        try:
            _print(report.prediction(name, model.infer(name), topk))
        except ImageError as error:
            code = _complain(error)
    return code


def _bench(args: argparse.Namespace) -> int:
    chosen = {name: getattr(args, name) for name in (*options.NETWORK_OPTIONS, "input_size") if hasattr(args, name)}
    if args.model is not None and chosen:
        given = ", ".join("--" + name.replace("_", "-") for name in chosen)
        raise OptionError(f"{given} with --model: expected one of the two, since a model has its network")
    if args.repeats is not None and not 1 <= args.repeats <= MOST_REPEATS:
        raise OptionError(f"repeats {args.repeats}: expected 1 to {MOST_REPEATS} calls")
    if not 0 < args.seconds <= MOST_SECONDS:
        raise OptionError(f"seconds {args.seconds:g}: expected more than 0, up to {MOST_SECONDS}")
    spec = NetworkSpec(**chosen)
    count, _ = thread_count(args.threads)
    use_threads(count)
    from minisqx import bench, report
    from minisqx.inference import DEFAULT_MODEL, load
    from minisqx.warmup import announce_compiling

    announce_compiling()
    model = bench.untrained(spec) if chosen else load(args.model or DEFAULT_MODEL)
    _print(report.speed(bench.measure(model, args.seconds, args.repeats, args.layers)))
    return 0


def _warmup(args: argparse.Namespace) -> int:
    use_threads(thread_count(args.threads)[0])
    from minisqx.warmup import warm_up

    for line in warm_up():
        print(line, flush=True)
    return 0


def _info(args: argparse.Namespace) -> int:
    count, source = thread_count(args.threads)
    use_threads(count)
    from minisqx.system import info

    _print(info(count, source))
    return 0
