"""The picture of a run: loss, accuracy and learning rate over the epochs."""

import functools
import io
import textwrap
from contextlib import suppress

# Colours that people with any colour vision tell apart (Okabe and Ito).
SPLITS = {"train": ("training", "#0072B2"), "validation": ("validation", "#E69F00"), "test": ("test", "#009E73")}

TITLE_WIDTH = 75  # letters in a line, also where they are twice as wide as ours


def draw_curves(history: list[dict], title: str) -> bytes:
    """The rows of `history.csv` as a PNG. Raises ImportError without Matplotlib."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in history]
    # A short run shows its points: with one epoch there is no line to see.
    style = {"linewidth": 1.6, "marker": "o" if len(epochs) <= 30 else None, "markersize": 3.5}
    figure = Figure(figsize=(13, 4.2), dpi=120, layout="constrained")
    written, families = _written(title)
    figure.suptitle(written, parse_math=False, fontfamily=families)
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


@functools.cache
def _written(title: str) -> tuple[str, list[str]]:
    """The title, and the font families to write it in: Matplotlib's, and an installed one for the letters that it lacks.

    The title may have the name of a folder, in any script. Letters for which there is no font are shown with escapes, as on a
    terminal; Matplotlib would draw a box for each, and warn of it.
    """
    from matplotlib.font_manager import FontProperties, findfont, fontManager
    from matplotlib.ft2font import FT2Font

    def lacks(font: FT2Font, letters: set[str]) -> set[str]:
        return {letter for letter in letters if not letter.isprintable() or not font.get_char_index(ord(letter))}

    own = FT2Font(findfont(FontProperties()))
    families, missing = [own.family_name], lacks(own, set(title))
    upright = [entry for entry in fontManager.ttflist if entry.style == "normal" and "Last Resort" not in entry.name]
    for entry in sorted(upright, key=lambda entry: (entry.weight != 400, entry.name)) if missing else ():
        with suppress(OSError, RuntimeError):  # a damaged font is none
            other = FT2Font(entry.fname)
            if other.scalable and not lacks(other, missing):
                families.append(entry.name)
                missing = set()
                break
    escaped = (ascii(letter)[1:-1] if letter in missing else letter for letter in title)
    return textwrap.fill("".join(escaped), TITLE_WIDTH), families
