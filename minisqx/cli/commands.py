"""The command line: `minisqx COMMAND ...`, the same as `python -m minisqx COMMAND ...`.

An error ends the command with one line on stderr and its exit code, without a traceback; docs/reliability.md lists the codes.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from minisqx.cli import infer, scale_plan, sweep
from minisqx.data.augmentation import AUTO
from minisqx.errors import MinisqxError, OptionError
from minisqx.machine.threads import thread_count, use_threads
from minisqx.spec import NetworkSpec, zoo
from minisqx.training import options
from minisqx.training import run as training

# The gradient check failed.
CHECK_FAILED = 1
# Out of memory or disk space, or no permission, where no class of minisqx.errors applies.
SYSTEM_ERROR = 8
# What a shell reports for a program ended by SIGINT or SIGPIPE.
INTERRUPTED = 130
BROKEN_PIPE = 141

_DATA = "CIFAR-10 archive or folder, image folder or HDF5 file (default: found or downloaded CIFAR-10, else embedded data)"
MAX_BATCH = 65_536
MAX_REPEATS = 10_000_000
MAX_SECONDS = 3600


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code. `arguments` are those of the process by default."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # Characters that the terminal can't show are escaped.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            args = _parser().parse_args(arguments)
            return args.command(args)
        finally:
            sys.stdout.flush()
    except MinisqxError as error:
        return _print_error(error, error.exit_code)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (`head`, say) has closed the pipe.
        _discard_output()
        return BROKEN_PIPE
    except OSError as error:
        _discard_output()
        return _print_error(error, SYSTEM_ERROR)
    except MemoryError as error:
        return _print_error(f"there is not enough memory: {error or 'take fewer or smaller images'}", SYSTEM_ERROR)


def _open_closed_streams() -> None:
    """Opens a standard stream that was closed before we started (`>&-`, a daemon) on the null device.

    Otherwise the next file opened gets its descriptor, and C code that prints to the stream writes into that file.
    """
    with suppress(OSError):
        while (free := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(free)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _discard_output() -> None:
    """Discards buffered output if its reader is gone or the disk is full, so that Python doesn't write it again at exit."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_error(error: object, exit_code: int) -> int:
    with suppress(OSError):
        print("minisqx:", " ".join(str(error).split()), file=sys.stderr)
    return exit_code


class _Parser(argparse.ArgumentParser):
    """Reports a wrong command line in one line."""

    def __init__(self, *, example: str = "", **settings) -> None:
        epilog = f"example:\n  {example}" if example else None
        super().__init__(epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def parse_known_args(self, args=None, namespace=None):
        # A subparser would leave unknown arguments to the main parser, whose help lacks the command's options.
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return namespace, unknown

    def error(self, message: str):
        self.exit(OptionError.exit_code, f"minisqx: {' '.join(message.split())}; see `{self.prog} --help`\n")


class _Version(argparse.Action):
    def __call__(self, parser, *_):
        from minisqx import __version__

        print("minisqx", __version__)
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="minisqx",
        description="Train Shallow SqueezeNext and its relatives on a CPU, and classify images with them.",
        example="minisqx infer cat.jpg",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run, help: str, example: str, **settings) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".", example=example, **settings)
        added.set_defaults(command=run)
        return added

    added = command("train", training.run, "train a network", "minisqx train --width 0.2 --epochs 30 --data cifar10")
    training.add_arguments(added)

    added = command("sweep", sweep.run, sweep.HELP, sweep.EXAMPLE, conflict_handler="resolve")
    sweep.add_arguments(added)

    scale_plan.add_arguments(command("scale-plan", scale_plan.run, scale_plan.HELP, scale_plan.EXAMPLE))

    added = command("models", _models, "list the named networks", "minisqx models")

    added = command("summary", _summary, "print a network's layers, parameters and multiply-adds", "minisqx summary --width 0.2")
    options.add_model_arguments(added, checkpoint=True)
    _add_sizes(added)

    added = command("draw", _draw, "draw a network, or one of its blocks", "minisqx draw --model squeezenet-v1.1 --out net.svg")
    options.add_model_arguments(added, checkpoint=True)
    _add_sizes(added)
    added.add_argument("--block", metavar="NAME", help="draw this bottleneck or fire module in detail, such as stage2.block1")
    added.add_argument("--out", metavar="FILE.svg", required=True, help="the SVG file to write")

    added = command(
        "augmentations",
        _augmentations,
        "show training images beside their random changes",
        "minisqx augmentations --data photos/ --augment auto --out sheet.png",
    )
    added.add_argument("--data", metavar="PATH", help=_DATA)
    text = "the list of changes, as for `minisqx train` (default: auto)"
    added.add_argument("--augment", metavar="LIST", default=AUTO, help=text)
    added.add_argument("--image-size", type=options.whole, metavar="N", help="as for `minisqx train` (default: their own size)")
    added.add_argument("--seed", type=options.whole, metavar="N", default=0, help="another choice of images, and other changes")
    added.add_argument("--out", metavar="FILE.png", required=True, help="the PNG file to write")

    added = command("paper", _paper, "print the paper's tables beside our networks", "minisqx paper --table VI")
    added.add_argument("--table", metavar="N", help="I to VI, or 1 to 6 (default: all)")
    style = added.add_mutually_exclusive_group()
    style.add_argument("--markdown", dest="style", action="store_const", const="markdown", default="text", help="as Markdown")
    style.add_argument("--csv", dest="style", action="store_const", const="csv", help="as comma-separated values")

    added = command("evaluate", _evaluate, "measure a model's accuracy on test images", "minisqx evaluate best.h5 --data images/")
    _add_model(added, "MODEL")
    added.add_argument("--data", metavar="PATH", help=_DATA)
    added.add_argument("--groups", metavar="HOW", help=options.GROUPS)
    added.add_argument(
        "--all",
        action="store_true",
        help="use all images, not only the test images, or those that the training of MODEL set aside of this data",
    )
    added.add_argument("--skip-bad-images", action="store_true", help=options.SKIP_BAD_IMAGES)
    text = "a new folder for a list of all mistakes, and for the images of the surest ones"
    added.add_argument("--mistakes", metavar="DIR", help=text)
    text = "also print how many images are answered, and how many of them right, above each of some thresholds"
    added.add_argument("--thresholds", action="store_true", help=text)
    added.add_argument("--batch-size", type=options.whole, metavar="N", default=256, help="images per batch (default: 256)")
    _add_threads(added)

    added = command("report", _report, "make the page of a training run again", "minisqx report runs/mine")
    added.add_argument("run", metavar="RUN_DIR", help="a run folder")
    added.add_argument("--data", metavar="PATH", help="where its images are now, if they were moved")
    added.add_argument("--out", metavar="FILE.html", help="the HTML file to write (default: report.html in the run folder)")
    _add_threads(added)

    added = command("compare", _compare, "put training runs side by side", "minisqx compare runs/* --out compare.html")
    added.add_argument("runs", nargs="+", metavar="RUN_DIR", help="a run folder")
    added.add_argument("--out", metavar="FILE.html", required=True, help="the HTML file to write")

    added = command("infer", infer.run, "classify images", "minisqx infer cat.jpg photos/ --csv answers.csv")
    infer.add_arguments(added)
    _add_model(added, "--model")
    _add_threshold(added, "say of answers below this probability, 0 to 1, that they are not sure (default: the model's, else 0)")
    _add_threads(added)

    added = command("export", _export, "write a model for other programs", "minisqx export best.h5 net.c")
    text = "checkpoint, file of safetensors or PyTorch (.pt, .pth), or the name of weights that come with minisqx"
    added.add_argument("source", metavar="MODEL", help=text)
    text = "file to write: net.c (C99, with net.h beside it), net.html (a page), net.mjs, net.onnx, net.py (PyTorch, with net.pt"
    text += " beside it), net.pt, net.safetensors or net.h5"
    added.add_argument("out", metavar="OUT", help=text)
    added.add_argument(
        "--format", metavar="F", help="c, html, mjs, onnx, py, pt, safetensors or h5 (default: that of OUT's ending)"
    )
    added.add_argument("--static", action="store_true", help="in C: the working memory is a global in the file, not the caller's")
    text = "in ONNX: images of uint8 in and probabilities out, with the normalisation in the graph"
    added.add_argument("--image-input", action="store_true", help=text)
    _add_threshold(added, "in h5, pt and safetensors: keep this threshold with the model, 0 to 1, for infer and is_confident")
    text = "network of a file of safetensors or PyTorch that doesn't say it, by a name that `minisqx models` lists"
    added.add_argument("--model", metavar="NAME", help=text)
    _add_sizes(added)

    added = command("bench", _bench, "measure a model's speed on this machine", "minisqx bench --layers")
    text = f"checkpoint file, weights that come with minisqx, or a name that `minisqx models` lists (default: {zoo.DEFAULT})"
    added.add_argument("--model", metavar="MODEL", help=text)
    options.add_network_arguments(added)
    _add_sizes(added)
    added.add_argument("--layers", action="store_true", help="also time each layer")
    added.add_argument("--seconds", type=options.number, metavar="S", default=2.0, help="seconds per measurement (default: 2)")
    repeats = "calls per measurement (default: as many as fit into --seconds)"
    added.add_argument("--repeats", type=options.whole, metavar="N", help=repeats)
    _add_threads(added)

    added = command(
        "gradcheck", _gradcheck, "check the hand-written gradients against finite differences", "minisqx gradcheck --layer stem"
    )
    added.description = (
        f"{added.description}\nThe network has random weights in float64. The exit code is 1 if a layer exceeds the tolerance."
    )
    options.add_model_arguments(added, checkpoint=True)
    _add_sizes(added)
    layer = "check only this layer or block, such as stage1.block1.conv2, stage1.block1 or input (default: all)"
    added.add_argument("--layer", metavar="NAME", help=layer)

    added = command("warmup", _warmup, "compile the kernels of inference and training in advance", "minisqx warmup")
    text = "as root: store them in the system cache, for all users of this machine or container image"
    added.add_argument("--system", action="store_true", help=text)
    _add_threads(added)

    added = command("info", _info, "print versions, CPU, threads and folders", "minisqx info")
    _add_threads(added)
    return parser


def _add_model(parser: argparse.ArgumentParser, name: str) -> None:
    text = "checkpoint file, or the name of weights that come with minisqx"
    if name.startswith("-"):
        text += f" (default: {zoo.DEFAULT})"
    parser.add_argument(name, metavar="MODEL", help=text)


def _add_threshold(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--threshold", type=options.number, metavar="P", help=text)


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    size = "side of the images in pixels, or height,width (default: 32)"
    parser.add_argument("--input-size", type=_input_size, metavar="N", default=argparse.SUPPRESS, help=size)
    parser.add_argument("--num-classes", type=options.whole, metavar="N", default=argparse.SUPPRESS, help="classes (default: 10)")


def _add_threads(parser: argparse.ArgumentParser) -> None:
    text = "threads (default: MINISQX_NUM_THREADS, else every CPU this process may use)"
    parser.add_argument("--threads", type=options.whole, metavar="N", help=text)


def _input_size(text: str) -> tuple[int, ...]:
    try:
        sides = tuple(map(int, text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a side in pixels, or height,width") from None
    return sides * 2 if len(sides) == 1 else sides


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _network_options(args: argparse.Namespace) -> list[str]:
    """Names of the network options on the command line. Raises OptionError beside a checkpoint, which defines its network."""
    chosen = [name for name in (*options.NETWORK_OPTIONS, "input_size", "num_classes") if hasattr(args, name)]
    model = getattr(args, "model", None)
    if chosen and model is not None and not zoo.is_name(model):
        given = ", ".join("--" + name.replace("_", "-") for name in chosen)
        raise OptionError(f"{given} with --model {model}: expected one of the two, since a checkpoint defines its network")
    return chosen


def _spec_of(args: argparse.Namespace) -> NetworkSpec:
    """The network that --model and the network options describe, or that of a checkpoint."""
    model = getattr(args, "model", zoo.SHALLOW)
    if zoo.is_name(model):
        return options.given_network(args)
    if not os.path.lexists(model):
        raise OptionError(
            f"model {model!r}: expected {zoo.SHALLOW} (with --width and --blocks), the path of a checkpoint, or one of"
            f" {', '.join(zoo.names())}"
        )
    _network_options(args)
    from minisqx.checkpoint import load_weights

    return load_weights(model).spec


def _summary(args: argparse.Namespace) -> int:
    from minisqx.cli import report

    _print(report.summary(_spec_of(args)))
    return 0


def _models(args: argparse.Namespace) -> int:
    from minisqx.paper import comparison as paper

    _print(paper.models())
    return 0


def _draw(args: argparse.Namespace) -> int:
    from minisqx.draw import block as draw_block
    from minisqx.draw import network as draw

    spec = _spec_of(args)
    draw.save(args.out, draw.svg(spec) if args.block is None else draw_block.block_svg(spec, args.block))
    print(f"{spec.name}: {args.out}")
    return 0


def _augmentations(args: argparse.Namespace) -> int:
    chosen = options.TrainingOptions(augment=args.augment, image_size=args.image_size, seed=args.seed, data=args.data)
    from minisqx.data import open_dataset, sheet
    from minisqx.data.dataset import say_on_stderr

    side = chosen.image_size
    data = open_dataset(chosen.data, image_size=None if side is None else (side, side), say=say_on_stderr)
    _print(sheet.save(args.out, data, chosen.augment, seed=chosen.seed))
    print(f"augment {chosen.augment}: {args.out}")
    return 0


def _paper(args: argparse.Namespace) -> int:
    from minisqx.paper import comparison as paper

    _print(paper.run(args.table, args.style))
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    if not 1 <= args.batch_size <= MAX_BATCH:
        raise OptionError(f"batch size {args.batch_size}: expected 1 to {MAX_BATCH} images")
    use_threads(*thread_count(args.threads))
    from minisqx.cli import report
    from minisqx.data.dataset import say_on_stderr
    from minisqx.data.sources import open_parts
    from minisqx.inference.model import load
    from minisqx.training.evaluation import evaluate, model_labels, trained_with, with_classes

    model = load(args.MODEL)
    if model.mean is None:
        model.check_described()  # before the data is read, which can supply class names but no normalisation
    data = open_parts(
        args.data,
        image_size=model.spec.input_size,
        skip_bad_images=args.skip_bad_images,
        groups=args.groups,
        say=say_on_stderr,
    )
    part = data.measured(args.all, say_on_stderr, trained_with(model, data.name))
    model = with_classes(model, data.classes, say_on_stderr)
    labels = model_labels(model, data.classes, part.labels, say_on_stderr)
    everything = len(part) == sum(map(len, data.parts.values()))
    print(f"{model.name} on {'all' if everything else 'the test'} images of {data.name}")
    result = evaluate(model, part.images, labels, args.batch_size)
    _print(report.evaluation(result))
    if args.thresholds:
        print()
        _print(report.thresholds(result, model.threshold))
    if args.mistakes is not None:
        from minisqx.training import mistakes

        count = mistakes.save(Path(args.mistakes), result, part, None if args.data is None else Path(args.data))
        print(f"mistakes: {mistakes.LIST} and {count} images in {args.mistakes!r}")
    return 0


def _report(args: argparse.Namespace) -> int:
    use_threads(*thread_count(args.threads))
    from minisqx.data.dataset import say_on_stderr
    from minisqx.training.report import report

    print(report(Path(args.run), args.data, None if args.out is None else Path(args.out), say_on_stderr))
    return 0


def _compare(args: argparse.Namespace) -> int:
    from minisqx.data.dataset import say_on_stderr
    from minisqx.training.compare import compare

    print(compare(args.runs, Path(args.out), say_on_stderr))
    return 0


def _export(args: argparse.Namespace) -> int:
    from minisqx.formats.export import export

    sizes = {name: getattr(args, name) for name in ("input_size", "num_classes") if hasattr(args, name)}
    if sizes and args.model is None:
        raise OptionError("--input-size or --num-classes without --model: expected both, since a file describes its own network")
    network = None if args.model is None else zoo.network(args.model, **sizes)
    options_of_formats = {"static": args.static, "image_input": args.image_input, "threshold": args.threshold}
    _print(str(path) for path in export(args.source, args.out, args.format, network=network, **options_of_formats))
    return 0


def _bench(args: argparse.Namespace) -> int:
    chosen = _network_options(args)
    # A name without shipped weights, and any network options, mean an untrained network.
    untrained = bool(chosen) or (args.model is not None and zoo.is_name(args.model) and args.model not in zoo.weights())
    if args.repeats is not None and not 1 <= args.repeats <= MAX_REPEATS:
        raise OptionError(f"repeats {args.repeats}: expected 1 to {MAX_REPEATS} calls")
    if not 0 < args.seconds <= MAX_SECONDS:
        raise OptionError(f"seconds {args.seconds!r}: expected more than 0, up to {MAX_SECONDS}")
    spec = options.given_network(args, args.model or zoo.SHALLOW) if untrained else None
    use_threads(*thread_count(args.threads))
    from minisqx.cli import report
    from minisqx.inference import bench
    from minisqx.inference.model import load

    model = load(args.model or zoo.DEFAULT) if spec is None else bench.untrained(spec)
    _print(report.speed(bench.measure(model, args.seconds, args.repeats, args.layers)))
    return 0


def _gradcheck(args: argparse.Namespace) -> int:
    spec = _spec_of(args)
    use_threads(1)  # the passes are too short for threads to pay off
    from minisqx.cli import report
    from minisqx.gradcheck import GradientCheck

    check = GradientCheck(spec)
    layers = check.layers(args.layer)
    _print(report.gradients_head(check))
    checked = []
    for layer in layers:
        print(report.gradient(layer, check.tolerance), flush=True)
        checked.append(layer)
    _print(report.gradients_end(checked, check.tolerance))
    return 0 if all(layer.agrees(check.tolerance) for layer in checked) else CHECK_FAILED


def _warmup(args: argparse.Namespace) -> int:
    use_threads(*thread_count(args.threads))
    from minisqx.training.warmup import warm_up

    for line in warm_up(args.system):
        print(line, flush=True)
    return 0


def _info(args: argparse.Namespace) -> int:
    count, source = thread_count(args.threads)
    use_threads(count, source)
    from minisqx.cli.info import info

    _print(info(count, source))
    return 0
