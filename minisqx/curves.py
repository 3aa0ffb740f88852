"""The picture of a run: loss, accuracy and learning rate over the epochs."""

import io

# Colours that people with any colour vision tell apart (Okabe and Ito).
SPLITS = {"train": ("training", "#0072B2"), "validation": ("validation", "#E69F00"), "test": ("test", "#009E73")}


def draw_curves(history: list[dict], title: str) -> bytes:
    """The rows of `history.csv` as a PNG. Raises ImportError without Matplotlib."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in history]
    # A short run shows its points: with one epoch there is no line to see.
    style = {"linewidth": 1.6, "marker": "o" if len(epochs) <= 30 else None, "markersize": 3.5}
    figure = Figure(figsize=(13, 4.2), dpi=120, layout="constrained")
    figure.suptitle(title, parse_math=False)
    loss, accuracy, rate = figure.subplots(1, 3, width_ratios=(3, 3, 2))

    for split, (name, color) in SPLITS.items():
        if history[0][f"{split}_loss"] is None:
            continue
        losses = [row[f"{split}_loss"] for row in history]
        percents = [100 * row[f"{split}_accuracy"] for row in history]
        loss.plot(epochs, losses, color=color, label=f"{name}, last {losses[-1]:.3f}", **style)
        accuracy.plot(epochs, percents, color=color, label=f"{name}, last {percents[-1]:.1f} %", **style)
    loss.set_ylabel("loss (cross-entropy, nats an image)")
    loss.legend(loc="upper right")
    accuracy.set_ylabel("accuracy (% of the images)")
    accuracy.legend(loc="lower right")

    rate.plot(epochs, [row["lr"] for row in history], color="0.3", drawstyle="steps-mid", **style)
    rate.set_yscale("log")
    rate.set_ylabel("learning rate at the epoch's end (log scale)")
    for axes in (loss, accuracy, rate):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    image = io.BytesIO()
    figure.savefig(image)
    return image.getvalue()
