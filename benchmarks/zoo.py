"""The zoo from the results of the campaign: `python -m benchmarks.zoo`.

For each network whose row has ended, with seed 0: its weights after the last epoch go to `data/weights` where its state is small
enough, its card to `data/weights/README.md`, its figures, if it is one of the paper's, to `data/measured.json`, which `minisqx
paper` shows. Weights whose hash is not that of the result are refused. Cards and figures need the result files alone.
"""

import argparse
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import minisqx
from benchmarks import campaign
from benchmarks.machine import CAMPAIGN
from benchmarks.reproduce import RESULTS
from minisqx.checkpoint import load_checkpoint
from minisqx.paper import printed
from minisqx.spec import NetworkSpec, zoo
from minisqx.training.options import TrainingOptions

DATA = Path(__file__).parents[1] / "data"
SHIPPED_BYTES = 900_000  # of parameters and running statistics; all such networks together make a wheel below 8 MB
BEGIN, END = "<!-- cards -->\n", "<!-- end of cards -->\n"
SUFFIX = "-modern-s0"


# What a row was trained on: how the data is named in a command, and where it comes from.
SOURCES = {
    "cifar10": ("cifar-10-batches-bin", 'A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009'),
    "signs": (
        "gtsrb-32",
        "the German Traffic Sign Recognition Benchmark, its official parts: Stallkamp, Schlipsing, Salmen, Igel,"
        ' "Man vs. computer", Neural Networks 32, 2012; each image with its border, resized to 32 x 32 without keeping its aspect'
        " ratio. The images are not included. Validation images are of other drives than training images",
    ),
}


def rows(results: Path) -> dict[str, dict]:
    """Name of the weights -> the result of their row with seed 0: the paper's networks, then the signs', each by size."""
    files = {name: results / f"{name}{SUFFIX}.json" for name in (*campaign.ROWS, *campaign.SIGNS)}
    found = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    return dict(sorted(found.items(), key=lambda one: (one[0] in campaign.SIGNS, network_of(one[1]).state_bytes)))


def network_of(result: dict) -> NetworkSpec:
    return TrainingOptions(**result["options"]).network(len(result["class_accuracy"]))


def ships(result: dict) -> bool:
    return network_of(result).state_bytes <= SHIPPED_BYTES


def take_weights(name: str, result: dict, runs: Path, data: Path) -> None:
    """Puts a run's last weights into `data/weights`, with the result's temperature, without what only training needs."""
    last, target = runs / f"{name}{SUFFIX}" / "last.h5", data / "weights" / f"{name}.h5"
    if target.exists() and load_checkpoint(target).weights_sha256 == result["weights_sha256"]:
        return
    if not last.exists():
        raise SystemExit(f"{last} is missing, and {target} has not the weights of {name}{SUFFIX}.json: train it again")
    if load_checkpoint(last).weights_sha256 != result["weights_sha256"]:
        raise SystemExit(f"{last} has not the weights of {name}{SUFFIX}.json: delete one of them and train again")
    minisqx.export(replace(minisqx.load(last), temperature=result["temperature"]), target)


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def machine(result: dict) -> str:
    threads = result.get("threads", 1)  # results from before a training could have several lack it
    return f"{'one thread' if threads == 1 else f'{threads} threads'} of {result['cpu']}"


def wrapped(command: str) -> str:
    """A command in lines of at most 100 characters, an option and its value in one."""
    bound = re.sub(r"(--\S+) (?!-)", r"\1\0", command)
    lines = textwrap.wrap(bound, 98, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return " \\\n".join(lines).replace("\0", " ")


def card(name: str, result: dict) -> Iterator[str]:
    """The lines of the card of a row."""
    spec, last, options, data = network_of(result), result["last"], result["options"], result["data"]
    argument, source = SOURCES["signs" if name in campaign.SIGNS else "cifar10"]
    printed_accuracy = printed.accuracies().get(name)
    yield f"## {name}"
    yield ""
    yield "| what | |"
    yield "|---|---|"
    size = f"{spec.parameters:,} parameters, {spec.macs / 1e6:.3g} M multiply-adds, {spec.state_bytes / 1e3:,.1f} KB of state"
    yield f"| network | {size} |"
    where = f"`{name}.h5`" if ships(result) else "not included, as they are large: train them with the command below"
    yield f"| weights | {where} |"
    yield f"| SHA-256 of the weights | `{result['weights_sha256']}` |"
    images = ", ".join(f"{count:,} {part}" for part, count in data["images"].items())
    yield f"| data | {data['name']}: {images}; SHA-256 `{data['sha256']}` |"
    yield f"| source | {source} |"
    took = f"{result['seconds'] / 60:.0f} minutes on {machine(result)}"
    if result["teacher"] is not None:
        yield f"| teacher | {result['teacher']['name']}, SHA-256 `{result['teacher']['sha256']}` |"
    yield f"| training | {options['epochs']} epochs, seed {options['seed']}, {took} |"
    yield f"| validation accuracy | {percent(last['validation_accuracy'])} after the last epoch |"
    compared = "" if printed_accuracy is None else f"; the paper: {printed_accuracy} %"
    yield f"| test accuracy | **{percent(result['test_accuracy'])}** after the last epoch{compared} |"
    yield f"| each class | {', '.join(f'{name} {100 * share:.1f}' for name, share in result['class_accuracy'].items())} |"
    yield f"| expected calibration error | {percent(result['calibration_error'])} |"
    yield f"| versions | {', '.join(f'{name} {version}' for name, version in result['versions'].items())} |"
    yield ""
    yield "```sh"
    command = result["command"].replace("minisqx train", f"minisqx train --data {argument}", 1)
    yield wrapped(command)
    yield "```"
    yield ""


def cards(text: str, found: dict[str, dict]) -> str:
    """The page of the weights with all cards anew. found: as of `rows`."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    lines = [line for name, result in found.items() for line in card(name, result)]
    return before + BEGIN + "".join(f"\n{line}" for line in lines) + "\n" + END + after


def measured(figures: dict[str, dict], found: dict[str, dict]) -> dict[str, dict]:
    """The figures of `minisqx paper`, with those of the rows that have ended and are the paper's."""
    for name, result in found.items():
        options = result["options"]
        words = f"one-cycle with peak {options['lr']:g}, weight decay {options['weight_decay']:g}, augment {options['augment']}"
        words += f", taught by {options['distill']}" if options.get("distill") else ""
        figures[name] = {
            "accuracy": round(100 * result["test_accuracy"], 2),
            "epochs": options["epochs"],
            "recipe": f"{result['data']['name']}, {words}, seed {options['seed']}",
            "seconds_per_epoch": round(result["seconds"] / options["epochs"], 1),
            "machine": f"{machine(result)}, at the lowest priority",
        }
    return {name: figures[name] for name in zoo.names() if name in figures}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.zoo", description="Weights and cards from the campaign's results."
    )
    parser.add_argument("--runs", type=Path, default=CAMPAIGN.parent, help="folder of the runs (%(default)s)")
    update(parser.parse_args().runs, RESULTS, DATA)


def update(runs: Path, results: Path, data: Path) -> None:
    """Weights, cards and figures in the folder `data` from the campaign's folders."""
    found = rows(results)
    for name, result in found.items():
        if ships(result):
            take_weights(name, result, runs, data)
    page, figures = data / "weights" / "README.md", data / "measured.json"
    page.write_text(cards(page.read_text(), found))
    figures.write_text(json.dumps(measured(json.loads(figures.read_text()), found), indent=1) + "\n")


if __name__ == "__main__":
    main()
