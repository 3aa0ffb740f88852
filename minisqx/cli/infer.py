"""The command `infer`: classify images, and print the answers as text or JSON, or write them to a CSV file."""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from minisqx.errors import ImageError, OptionError
from minisqx.machine.ranks import ALONE, Ranks
from minisqx.machine.threads import thread_count, use_threads
from minisqx.spec import zoo
from minisqx.training import options

if TYPE_CHECKING:
    from minisqx.inference.model import Model
    from minisqx.inference.prediction import Prediction


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "PNG, JPEG, BMP, WebP, GIF, PPM, TIFF or AVIF file of any size, a folder of them, or - for an image on standard input"
    parser.add_argument("images", nargs="+", metavar="IMAGE", help=text)
    text = "number of likeliest classes of each image (default: 3)"
    parser.add_argument("--topk", type=options.whole, metavar="K", help=text)
    out = parser.add_mutually_exclusive_group()
    text = "write a CSV file, one row an image; after an interruption the same command continues it"
    out.add_argument("--csv", "--out", metavar="FILE.csv", help=text)
    out.add_argument("--json", action="store_true", help="print a line of JSON for each image")
    text = (
        "share the images among all processes that MPI has started, as in `mpiexec -n 4 minisqx infer --bulk DIR --csv FILE.csv`"
    )
    parser.add_argument("--bulk", action="store_true", help=text)


def run(args: argparse.Namespace) -> int:
    """Returns the exit code: that of ImageError if an image could not be used."""
    if not args.bulk:
        return _run(args, ALONE)
    if args.csv is None:
        raise OptionError("--bulk without --csv: expected the CSV file to write")
    from minisqx.mpi import ranks_of_mpi

    with ranks_of_mpi() as ranks:
        return _run(args, ranks)


def _run(args: argparse.Namespace, ranks: Ranks) -> int:
    use_threads(*thread_count(args.threads, ranks.on_host))
    from minisqx.inference.model import load
    from minisqx.inference.stored import names_of

    model = load(args.model or zoo.DEFAULT, threshold=args.threshold)
    classes = model.spec.num_classes
    topk = min(3, classes) if args.topk is None else args.topk
    if not 1 <= topk <= classes:
        raise OptionError(f"topk {topk}: expected 1 to {classes}, the number of classes")
    if args.csv is not None:
        return _write(args, model, topk, ranks)
    return _print(names_of(args.images), model, topk, args.json)


def _print(names: Iterator[str], model: "Model", topk: int, as_json: bool) -> int:
    from minisqx.cli import report
    from minisqx.inference.by_name import answers

    code = 0
    for block in answers(model, names):
        for name, answer in block:
            # One bad file must not suppress the results of the others.
            if isinstance(answer, ImageError):
                code = answer.exit_code
            if as_json:
                print(json.dumps(_content(name, answer, topk)))
            elif isinstance(answer, ImageError):
                print("minisqx:", " ".join(str(answer).split()), file=sys.stderr)
            else:
                print(*report.prediction(name, answer, topk), sep="\n")
    return code


def _content(name: str, answer: "Prediction | ImageError", topk: int) -> dict:
    if isinstance(answer, ImageError):
        return {"path": name, "error": " ".join(str(answer).split())}
    likeliest = [{"class": label, "probability": share} for label, share in answer.topk(topk)]
    return {"path": name, "is_confident": answer.is_confident, "classes": likeliest}


def _write(args: argparse.Namespace, model: "Model", topk: int, ranks: Ranks) -> int:
    from minisqx.inference.by_name import write_table
    from minisqx.inference.shards import write_shards
    from minisqx.inference.stored import names_of
    from minisqx.training.progress import ImageBar

    def names() -> Iterator[str]:
        return names_of(args.images)

    count = sum(1 for _ in names()) if ranks.is_first else 0
    bar: ImageBar | None = None
    done = 0

    def show(images: int, resumed: int = 0) -> None:
        nonlocal bar, done
        if bar is None:
            if resumed:
                print(f"continuing after {resumed:,} of {count:,} images", file=sys.stderr)
            bar, done = ImageBar(args.csv, count, resumed, shown=ranks.is_first), resumed
        bar.advance(images - done)
        done = images

    try:
        if args.bulk:
            written = write_shards(model, names, args.csv, topk, ranks, show)
        else:
            written = write_table(model, names, args.csv, topk, show)
    except KeyboardInterrupt:
        if ranks.is_first:
            print(f"minisqx: stopped after {done:,} of {count:,} images; the same command continues", file=sys.stderr)
        raise
    finally:
        if bar is not None:
            bar.close()
    if not ranks.is_first:
        return 0
    bad = f", {written.bad:,} of them not usable (see the column error)" if written.bad else ""
    print(f"{written.images:,} images{bad}: {args.csv}")
    return ImageError.exit_code if written.bad else 0
