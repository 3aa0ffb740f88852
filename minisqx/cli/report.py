"""What the commands print: aligned plain text, at most 100 columns wide."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from minisqx.machine.limits import size_text
from minisqx.spec import NetworkSpec
from minisqx.text import WIDTH, columns, table

if TYPE_CHECKING:
    import numpy as np

    from minisqx.gradcheck import GradientCheck, LayerCheck
    from minisqx.inference.bench import LayerTime, Speed
    from minisqx.inference.prediction import Prediction
    from minisqx.training.evaluation import Evaluation

CONFUSIONS = 20
_LAYER = 24  # width of the column of layer names


def summary(spec: NetworkSpec) -> Iterator[str]:
    """The layers of a network, and their totals."""
    height, width = spec.input_size
    yield f"{spec.name}: images of {size_text(height, width)}, {spec.num_classes} classes"
    yield ""
    rows = [("layer", "output", "parameters", "multiply-adds")]
    for layer in spec.layers:
        parameters = sum(map(math.prod, layer.parameter_shapes.values()))
        rows.append((layer.name, " x ".join(map(str, layer.output_shape)), f"{parameters:,}", f"{layer.macs:,}"))
    rows.append(("total", "", f"{spec.parameters:,}", f"{spec.macs:,}"))
    *layers, total = table(rows, left=2)
    yield from layers
    yield "-" * len(total)
    yield total
    yield ""
    yield f"{spec.parameters:,} trainable parameters; with the running statistics {spec.state_bytes:,} bytes of float32"
    yield f"{spec.macs / 1e6:.3g} million multiply-adds per image"


def evaluation(result: "Evaluation") -> Iterator[str]:
    """The overall accuracy, the calibration, the accuracy of each class, and the confusion matrix."""
    yield f"accuracy {100 * result.accuracy:.2f} % ({result.correct} of {result.images} images), mean loss {result.loss:.4f}"
    yield f"balanced accuracy {100 * result.balanced_accuracy:.2f} %: the mean of the classes' accuracies"
    yield f"expected calibration error {100 * result.calibration_error:.2f} %: between probability and accuracy"
    yield ""
    rows = [("class", "images", "accuracy")]
    for name, counts, share in zip(result.classes, result.confusion, result.class_accuracy):
        rows.append((name, str(counts.sum()), "-" if share is None else f"{100 * share:.2f} %"))
    yield from table(rows)
    yield ""
    yield from _confusion(result)


def _confusion(result: "Evaluation") -> Iterator[str]:
    """The whole matrix if it fits on the page, else its largest entries off the diagonal."""
    numbers = list(map(str, range(len(result.classes))))
    rows = [("", "", *numbers)]
    rows += [(number, name, *map(str, counts)) for number, name, counts in zip(numbers, result.classes, result.confusion)]
    lines = list(table(rows, left=2))
    if max(map(columns, lines)) <= WIDTH:
        yield "confusion matrix: a row for each true class, a column for each predicted class"
        yield from lines
        return
    yield f"the {CONFUSIONS} most frequent confusions"
    mistakes = [
        (int(count), truth, predicted)
        for truth, counts in zip(result.classes, result.confusion)
        for predicted, count in zip(result.classes, counts)
        if count and predicted != truth
    ]
    mistakes.sort(key=lambda mistake: -mistake[0])
    rows = [("true class", "predicted", "images")]
    rows += [(truth, predicted, str(count)) for count, truth, predicted in mistakes[:CONFUSIONS]]
    yield from table(rows, left=2)


def prediction(name: str, result: "Prediction", topk: int) -> Iterator[str]:
    """The likeliest classes of one image."""
    yield name
    yield from table([(f"  {label}", f"{100 * share:.2f} %") for label, share in result.topk(topk)])


def speed(result: "Speed") -> Iterator[str]:
    """What was measured, latency percentiles, throughput, and a line for each layer."""
    height, width = result.spec.input_size
    yield f"{result.name}: images of {size_text(height, width)}, {result.spec.macs / 1e6:.3g} million multiply-adds each"
    calls = f"{len(result.tensor):,} and {len(result.image):,} calls"
    batches = f"{len(result.batches):,} batches on {result.threads} {'thread' if result.threads == 1 else 'threads'}"
    yield f"measured: inference in {result.dtype}; one image at a time on 1 thread, {calls}; {batches}"
    yield ""
    yield from table(
        [
            ("latency of one image in microseconds", "min", "p50", "p90", "p99", "max"),
            (f"tensor {result.dtype} (1, 3, {height}, {width}) -> logits", *_percentiles(result.tensor)),
            (f"array uint8 ({height}, {width}, 3) -> prediction", *_percentiles(result.image)),
        ]
    )
    yield ""
    yield f"throughput in batches of {result.batch}: {result.images_per_second:,.0f} images/s"
    if result.layers is not None:
        yield ""
        yield from _layer_times(result.layers)


def gradients_head(check: "GradientCheck") -> Iterator[str]:
    """What is checked, and the column headers."""
    height, width = check.spec.input_size
    yield f"{check.spec.name}: gradients by backward against finite differences of the loss"
    yield f"{len(check.x)} images of {height} x {width} pixels, random weights, float64, step {check.step:.0e}"
    yield ""
    yield f"{'layer':{_LAYER}}  elements  largest difference"


def gradient(layer: "LayerCheck", tolerance: float) -> str:
    """The line of one layer."""
    remark = "" if layer.agrees(tolerance) else f"  beyond {tolerance:.0e}"
    if layer.kinks:
        remark += f"  ({layer.kinks} of the elements at a kink, not measured)"
    return f"{layer.name:{_LAYER}}  {layer.elements:8}  {layer.difference:18.1e}{remark}"


def gradients_end(layers: "Sequence[LayerCheck]", tolerance: float) -> Iterator[str]:
    """The verdict."""
    wrong = [layer.name for layer in layers if not layer.agrees(tolerance)]
    if wrong:
        yield f"{len(wrong)} of {len(layers)} differ by more than {tolerance:.0e} of a tensor's largest gradient"
        yield f"an error reaches every layer before it, so begin with the last: {wrong[-1]}"
    else:
        largest = max(layer.difference for layer in layers)
        yield f"all agree: the largest difference is {largest:.1e} of a tensor's largest gradient, the tolerance {tolerance:.0e}"


def _percentiles(seconds: "np.ndarray") -> list[str]:
    """Minimum, p50, p90, p99 and maximum in microseconds. seconds: sorted. Percentiles are of the nearest rank."""
    ranks = [0, *(math.ceil(share * len(seconds)) - 1 for share in (0.5, 0.9, 0.99)), -1]
    return [f"{1e6 * seconds[rank]:,.1f}" for rank in ranks]


def _layer_times(layers: "list[LayerTime]") -> Iterator[str]:
    """The time of each layer for one image on one thread; a multiply-add counts as two operations."""

    def row(name: str, shape: str, macs: int, seconds: float) -> tuple[str, ...]:
        rate = f"{2 * macs / seconds / 1e9:.1f}" if macs and seconds else "-"
        return name, shape, f"{macs:,}", f"{1e6 * seconds:,.2f}", rate, f"{100 * seconds / total:.1f} %"

    total = sum(layer.seconds for layer in layers)
    yield "layers: one image on 1 thread, data in cache; pixels that a stride skips are not computed"
    rows: list[tuple[str, ...]] = [("layer", "output", "multiply-adds", "microseconds", "GFLOP/s", "share")]
    rows += [row(layer.name, " x ".join(map(str, layer.shape)), layer.macs, layer.seconds) for layer in layers]
    rows.append(row("total", "", sum(layer.macs for layer in layers), total))
    yield from table(rows)
