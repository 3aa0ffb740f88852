"""The tables of figures in the documents, from the result files: `python -m benchmarks.tables`.

A table stands in README.md or a page of docs/ between `<!-- table: NAME -->` and `<!-- end of table -->`; this writes all of them
anew, so a figure can't differ from its file. `--print NAME...` prints tables instead.
"""

import argparse
import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path

from benchmarks import campaign
from benchmarks.zoo import network_of, ships
from benchmarks.zoo import rows as zoo_rows
from minisqx.paper import printed
from minisqx.spec import zoo

HERE = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
DOCUMENTS = ("README.md", "docs/results.md", "docs/exporting.md")
MARKED = re.compile(r"(<!-- table: ([a-z0-9-]+) -->\n\n?).*?(\n?<!-- end of table -->)", re.DOTALL)
OURS = "minisqx"
Rows = list[list[str]]
SHOWN = {("array", 32, 1): "an array 32 x 32", ("array", 640, 1): "a frame 640 x 480", ("jpg", 4000, 1): "a JPEG 4000 x 3000"}


def result(name: str) -> dict:
    """The result file of a benchmark."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def duration(microseconds: float) -> str:
    """Three digits, in the unit that suits."""
    factor, unit = next((pair for pair in ((1, "us"), (1e3, "ms")) if microseconds < 999.5 * pair[0]), (1e6, "s"))
    return f"{microseconds / factor:.3g} {unit}"


def threads_text(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


def ratio_text(ratio: dict[str, float]) -> str:
    return f"**{ratio['median']:.{1 if ratio['median'] >= 2 else 2}f}**"


def spread_text(ratio: dict[str, float]) -> str:
    return f"{ratio['lowest']:.2f} - {ratio['highest']:.2f}"


def training() -> Rows:
    """Steps of every network beside the best float32 peer."""
    rows = [["network", "minisqx", "best peer", "ratio", "rounds"], ["---"] * 5]
    for row in result("training")["rows"]:
        ours, peer = row["contestants"][OURS], row["contestants"][row["best_peer"]]
        times = [duration(1e3 * ours["milliseconds"]), f"{row['best_peer']}: {duration(1e3 * peer['milliseconds'])}"]
        rows.append([row["network"], *times, ratio_text(peer["ratio"]), spread_text(peer["ratio"])])
    return rows


def training_peers() -> Rows:
    """Every peer's step over ours, in float32 and bfloat16."""
    return _all_peers(result("training")["rows"], lambda row: row["network"], lambda one: f"{one['ratio']['median']:.2f}")


def two_threads() -> Rows:
    """Two threads over one."""
    rows = [["network", "2 threads over 1"], ["---", "---:"]]
    for row in result("training")["rows"]:
        alone = row["contestants"].get(f"{OURS}, one thread")
        if alone:
            rows.append([row["network"], f"{alone['ratio']['median']:.2f}"])
    return rows


def busy() -> Rows:
    """A step beside a busy process over one on an idle machine."""
    return _all_peers(result("busy")["rows"], lambda row: row["network"], lambda one: f"{one['busy_over_idle']:.2f}")


def inference(is_batch: bool) -> Rows:
    """Every network beside the best float32 peer."""
    rows = [["network", "minisqx", "best peer", "ratio", "rounds"], ["---"] * 5]
    for row in result("inference")["rows"]:
        if (row["batch_size"] > 1) == is_batch:
            ours, peer = row["contestants"][OURS], row["contestants"][row["best_peer"]]
            figures = [f"{one['images_per_second']:,}/s" if is_batch else duration(one["median_us"]) for one in (ours, peer)]
            rows.append([row["network"], figures[0], f"{row['best_peer']}: {figures[1]}", ratio_text(peer["ratio"])])
            rows[-1].append(spread_text(peer["ratio"]))
    return rows


def inference_peers(is_batch: bool, is_float32: bool) -> Rows:
    """Every peer's time over ours, and for less precise ones what their logits are off by."""
    chosen = []
    for row in result("inference")["rows"]:
        if (row["batch_size"] > 1) == is_batch:
            ones = {name: one for name, one in row["contestants"].items() if (one["precision"] == "float32") == is_float32}
            chosen.append(row | {"contestants": ones})

    def cell(one: dict) -> str:
        return f"{one['ratio']['median']:.2f}" + ("" if is_float32 else f" ({100 * one['error']:.1f} %)")

    return _all_peers(chosen, lambda row: row["network"], cell)


def calls() -> Rows:
    """What a user calls, beside the best peer, and the best that normalises with NumPy."""
    rows = [["call", "minisqx", "best peer", "ratio", "best with NumPy", "ratio"], ["---"] * 6]
    for row in result("calls")["rows"]:
        ours = row["results"][OURS]
        picture = f"{row['images']} x " * (row["images"] > 1) + f"{row['kind']}, {row['width']} x {row['height']}"
        cells = [f"{row['call']}: {picture}, {threads_text(row['threads'])}", duration(ours["us"])]
        for key in ("best_peer", "best_peer_with_numpy"):
            peer = row["results"].get(row[key])
            cells += [f"{row[key]}: {duration(peer['us'])}", ratio_text(peer["ratio"])] if peer else ["", ""]
        rows.append(cells)
    return rows


def startup() -> Rows:
    """Whole processes."""
    rows = [["process", "seconds", "MB"], ["---", "---:", "---:"]]
    for title, one in result("startup")["rows"].items():
        rows.append([title, f"{one['median_seconds']:.2f}", f"{one['median_megabytes']:.0f}"])
    return rows


def epoch() -> Rows:
    """Whole epochs beside the best of PyTorch."""
    rows = [["network", "minisqx", "best peer", "ratio", "rounds", "part of an epoch"], ["---"] * 6]
    for row in result("epoch")["rows"]:
        ours, peer = (row["contestants"][name]["median"] for name in (OURS, row["best_peer"]))
        cells = [f"{ours:.2f} s", f"{row['best_peer']}: {peer:.1f} s", ratio_text(row["ratio"]), spread_text(row["ratio"])]
        rows.append([row["network"], *cells, "all" if row["fraction"] == 1 else f"{row['fraction']:g}"])
    return rows


def scaling() -> Rows:
    """Milliseconds on two threads, two over one, and PyTorch's time over ours."""
    rows = [["", "network", "batch", "side", "ms", "2 threads over 1", "PyTorch over ours"], ["---"] * 2 + ["---:"] * 5]
    for series, points in result("scaling").items():
        for one in points if isinstance(points, list) else []:
            ratios = [f"{one[key]['median']:.2f}" for key in ("speed_up", "ratio")]
            milliseconds = f"{one['milliseconds']['2 threads']:.2f}"
            rows.append([series, one["network"], str(one["batch_size"]), str(one["side"]), milliseconds, *ratios])
    return rows


def c_code() -> Rows:
    """C of ours and of onnx2c, each compiler's time and that over ours."""
    found = result("c_code")["rows"]
    titles = list(found[0]["contestants"])
    rows = [["network", *titles], ["---"] * (1 + len(titles))]
    for row in found:
        ones = [row["contestants"][title] for title in titles]
        times = [f"{duration(one['median_us'])}, {one['ratio']['median']:.1f} times" for one in ones[1:]]
        rows.append([row["network"], duration(ones[0]["median_us"]), *times])
    return rows


def trained(name: str) -> list[dict]:
    """The results of a training's seeds that have ended; name: without its seed."""
    found = (json.loads(file.read_text()) for file in (RESULTS / "trainings").glob(f"{name}-s*.json"))
    return sorted(found, key=lambda one: one["options"]["seed"])


def mean_text(values: list[float]) -> str:
    """Mean in %, with its standard deviation where there are several values."""
    spread = f" ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.2f}{spread}"


def accuracy() -> Rows:
    """The networks of the paper, by size: test accuracy in % after the last epoch."""
    rows = [["network", "state (KB)", "paper", "modern", "margin", "each seed", "epochs", "teacher", "the paper's recipe, ours"]]
    rows.append(["---", *["---:"] * 8])
    for network in sorted(campaign.ROWS, key=lambda name: zoo.network(name).state_bytes):
        goal, state = printed.accuracies().get(network), f"{zoo.network(network).state_bytes / 1e3:,.1f}"
        modern, paper = trained(f"{network}-modern"), trained(f"{network}-paper")
        cells = ["not trained", "-", "-", "-", "-"]
        if modern:
            found = [one["test_accuracy"] for one in modern]
            margin = "-" if goal is None else f"{100 * statistics.mean(found) - float(goal):+.2f}"
            each = ", ".join(f"{100 * accuracy:.2f}" for accuracy in found) if len(found) > 1 else "-"
            cells = [f"**{mean_text(found)}**", margin, each, str(modern[0]["options"]["epochs"])]
            cells.append((modern[0]["options"].get("distill") or "-").removeprefix("shallow-"))
        again = mean_text([one["test_accuracy"] for one in paper]) if paper else "not trained" * (network in campaign.PAPER)
        rows.append([network, state, goal or "-", *cells, again])
    return rows


def comparison() -> Rows:
    """What each change of the recipe is worth: the difference in validation accuracy, in points, from the same seeds."""
    rows = [["change", *campaign.COMPARED], ["---", *["---:"] * len(campaign.COMPARED)]]
    for change in (*campaign.CHANGES, "teacher"):
        cells = []
        for network in campaign.COMPARED:
            base, found = (
                {one["options"]["seed"]: one["last"]["validation_accuracy"] for one in trained(f"comparison-{network}-{name}")}
                for name in ("recipe", change)
            )
            gains = [100 * (found[seed] - base[seed]) for seed in found if seed in base]
            if change not in campaign.changes(network):
                cells.append("is the recipe")
            elif not gains:
                cells.append("-")
            elif change == "recipe":
                cells.append(mean_text(list(base.values())))
            else:
                spread = f" ± {statistics.stdev(gains):.2f}" if len(gains) > 1 else ""
                cells.append(f"{statistics.mean(gains):+.2f}{spread}")
        options = campaign.CHANGES.get(change, {}).items()
        words = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in options)
        rows.append([f"`{words}`" if words else change, *cells])
    return rows


def explored() -> Rows:
    """The runs by which the recipe was chosen: accuracy in % on training and validation images after the last epoch."""
    rows = [
        ["network", "epochs", "augment", "peak", "weight decay", "teacher", "training", "validation"],
        ["---", "---:", "---", "---:", "---:", "---", "---:", "---:"],
    ]
    for training in (campaign.explored(*each) for each in campaign.EXPLORED):
        for one in trained(training.name.removesuffix("-s0")):
            options = training.options
            figures = [f"{100 * one['last'][f'{part}_accuracy']:.2f}" for part in ("train", "validation")]
            rates = [f"{value:g}" for value in (options.lr, options.weight_decay)]
            settings = [options.model, str(options.epochs), options.augment, *rates, options.distill or "-"]
            rows.append([*settings, *figures])
    return rows


def truth() -> Rows:
    """The paper's recipe in few epochs, here and in PyTorch: test accuracy in % after the last epoch."""
    name = next(campaign.truth()).name.removesuffix("-s0")
    rows = [["engine", "seeds", "mean", "lowest", "highest", "each"], ["---", *["---:"] * 4, "---"]]
    for engine, before in ((OURS, ""), ("PyTorch", "torch-")):
        found = [one["test_accuracy"] for one in trained(before + name)]
        if found:
            extremes = [f"{100 * extreme(found):.2f}" for extreme in (min, max)]
            each = ", ".join(f"{100 * accuracy:.2f}" for accuracy in found)
            rows.append([engine, str(len(found)), mean_text(found), *extremes, each])
    return rows


def weights() -> Rows:
    """The networks that come with minisqx and have a card: test accuracy in % after the last epoch."""
    rows = [["weights", "classes", "size (KB)", "accuracy (%)", "the paper"], ["---", *["---:"] * 4]]
    for name, one in zoo_rows(RESULTS / "trainings").items():
        if ships(one):
            network = network_of(one)
            size = [str(network.num_classes), f"{network.state_bytes / 1e3:,.1f}"]
            rows.append([name, *size, f"**{100 * one['test_accuracy']:.2f}**", printed.accuracies().get(name, "-")])
    return rows


def signs() -> Rows:
    """Traffic signs: accuracy in % after the last epoch."""
    rows = [["weights", "state (KB)", "epochs", "augment", "validation", "test"], ["---", "---:", "---:", "---", "---:", "---:"]]
    for name, result in zoo_rows(RESULTS / "trainings").items():
        if name in campaign.SIGNS:
            options, accuracies = result["options"], (result["last"]["validation_accuracy"], result["test_accuracy"])
            size = f"{network_of(result).state_bytes / 1e3:,.1f}"
            rows.append([name, size, str(options["epochs"]), options["augment"], *(f"{100 * each:.2f}" for each in accuracies)])
    return rows


def summary() -> Rows:
    """0.2x, the rows of the other tables: work, minisqx, the best peer, ratio."""
    work = {
        "a training step, batch of 128, 2 threads": training(),
        f"an epoch ({epoch()[2][-1]} of it) with its test pass, 2 threads": epoch(),
        "one image, 1 thread": inference(False),
        "a batch of 128, 2 threads": inference(True),
    }
    rows = [["measured", "minisqx", "best peer", "ratio"], ["---"] * 4]
    rows += [[title, *row[1:4]] for title, table in work.items() for row in table if row[0] == "shallow-06-0.2x"]
    for row in result("calls")["rows"]:
        if row["call"] == "infer" and (row["kind"], row["width"], row["images"]) in SHOWN:
            peer = row["results"][row["best_peer"]]
            title = f"{SHOWN[row['kind'], row['width'], row['images']]} to its label, {threads_text(row['threads'])}"
            times = [duration(row["results"][OURS]["us"]), f"{row['best_peer']}: {duration(peer['us'])}"]
            rows.append([title, *times, ratio_text(peer["ratio"])])
    return rows


def _all_peers(found: list[dict], column: Callable[[dict], str], cell: Callable[[dict], str]) -> Rows:
    """Contestants down, networks across."""
    names = list(dict.fromkeys(name for row in found for name in row["contestants"]))
    rows = [["", *map(column, found)], ["---", *["---:"] * len(found)]]
    for name in names:
        rows.append([name, *(cell(row["contestants"][name]) if name in row["contestants"] else "-" for row in found)])
    return rows


TABLES: dict[str, Callable[[], Rows]] = {
    "summary": summary,
    "training": training,
    "training-peers": training_peers,
    "two-threads": two_threads,
    "busy": busy,
    "one-image": lambda: inference(False),
    "batches": lambda: inference(True),
    "one-image-peers": lambda: inference_peers(False, True),
    "batches-peers": lambda: inference_peers(True, True),
    "one-image-less-precise": lambda: inference_peers(False, False),
    "batches-less-precise": lambda: inference_peers(True, False),
    "calls": calls,
    "startup": startup,
    "epoch": epoch,
    "scaling": scaling,
    "c-code": c_code,
    "accuracy": accuracy,
    "comparison": comparison,
    "explored": explored,
    "signs": signs,
    "truth": truth,
    "weights": weights,
}


def markdown(name: str) -> str:
    """A table as lines of Markdown, without a line break at the end."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in TABLES[name]())


def rewritten(text: str) -> str:
    """A document with all its tables as the result files give them."""
    return MARKED.sub(lambda match: f"<!-- table: {match[2]} -->\n\n{markdown(match[2])}\n\n<!-- end of table -->", text)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description="The documents' tables of figures.")
    parser.add_argument("--print", nargs="+", choices=TABLES, metavar="NAME", help=f"print instead: {', '.join(TABLES)}")
    options = parser.parse_args()
    for name in options.print or ():
        print(f"{markdown(name)}\n")
    if not options.print:
        for name in DOCUMENTS:
            path = HERE / name
            path.write_text(rewritten(path.read_text()))


if __name__ == "__main__":
    main()
