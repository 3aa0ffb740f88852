"""curves.png: loss, accuracy and learning rate of a run by epoch."""

import functools
import io
import textwrap
from contextlib import suppress

# Colours that colour-blind readers can distinguish (Okabe and Ito).
SPLITS = {"train": ("training", "#0072B2"), "validation": ("validation", "#E69F00"), "test": ("test", "#009E73")}

TITLE_WIDTH = 75  # characters per line; leaves room for scripts with wide characters


def draw_curves(history: list[dict], title: str) -> bytes:
    """The rows of history.csv as a PNG image. Raises ImportError without Matplotlib."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in history]
    # Markers for short runs: with one epoch there is no line.
    style = {"linewidth": 1.6, "marker": "o" if len(epochs) <= 30 else None, "markersize": 3.5}
    figure = Figure(figsize=(13, 4.2), dpi=120, layout="constrained")
    text, families = _title_and_fonts(title)
    figure.suptitle(text, parse_math=False, fontfamily=families)
    loss, accuracy, rate = figure.subplots(1, 3, width_ratios=(3, 3, 2))

    for split, (name, color) in SPLITS.items():
        if history[0][f"{split}_loss"] is None:
            continue
        losses = [row[f"{split}_loss"] for row in history]
        percents = [100 * row[f"{split}_accuracy"] for row in history]
        loss.plot(epochs, losses, color=color, label=f"{name}, last {losses[-1]:.3f}", **style)
        accuracy.plot(epochs, percents, color=color, label=f"{name}, last {percents[-1]:.1f} %", **style)
    loss.set_ylabel("loss (cross-entropy, nats per image)")
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
def _title_and_fonts(title: str) -> tuple[str, list[str]]:
    """The title in lines, and its font families: Matplotlib's default, and an installed font with the characters it lacks.

    The title may contain a folder name in any script. Characters that no font has are escaped, as on a terminal, because
    Matplotlib would draw boxes and print warnings.
    """
    from matplotlib.font_manager import FontProperties, findfont, fontManager
    from matplotlib.ft2font import FT2Font

    def missing_from(font: FT2Font, characters: set[str]) -> set[str]:
        return {each for each in characters if not each.isprintable() or not font.get_char_index(ord(each))}

    default = FT2Font(findfont(FontProperties()))
    families, missing = [default.family_name], missing_from(default, set(title))
    upright = [entry for entry in fontManager.ttflist if entry.style == "normal" and "Last Resort" not in entry.name]
    for entry in sorted(upright, key=lambda entry: (entry.weight != 400, entry.name)) if missing else ():
        with suppress(OSError, RuntimeError):  # skip damaged fonts
            other = FT2Font(entry.fname)
            if other.scalable and not missing_from(other, missing):
                families.append(entry.name)
                missing = set()
                break
    escaped = (ascii(each)[1:-1] if each in missing else each for each in title)
    return textwrap.fill("".join(escaped), TITLE_WIDTH), families
