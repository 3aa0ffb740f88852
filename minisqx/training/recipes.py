"""Recipes: the values of the training options that nobody gave.

    paper    Duggal and El-Sharkawy's, for CIFAR-10: steps over 200 epochs
    modern   one cycle with a high peak; batch size and epochs by the number of images

`modern` was chosen by the accuracy on validation images; for many images its epochs only follow from a number of steps.
docs/results.md has the measurements.
"""

import math

from minisqx.data.augmentation import AUTO, NONE
from minisqx.spec import NetworkSpec

PAPER, MODERN = "paper", "modern"
RECIPES = (MODERN, PAPER)
PAPER_VALUES = {
    "epochs": 200, "batch_size": 128, "lr": 0.1, "weight_decay": 1e-4, "schedule": "step", "augment": "crop,flip",
}  # fmt: skip
# Data sets by name that keep the paper's recipe, beside CIFAR-10 from anywhere.
PAPERS_DATA = (None, "cifar10", "shapes")

FEW, MANY = 2000, 10_000  # images, for which batches are small, and large
# A network with fewer parameters learns less from many images that are augmented than from the same ones as they are.
SMALL = 20_000
STEPS = 6000  # of a modern run, where that takes neither fewer nor more than these epochs
EPOCHS = (20, 120)
# By the schedule: the peak of one cycle, or the rate that steps begin with. Without batch norm, higher ones diverge.
RATES, RATES_WITHOUT_NORM = {"one-cycle": 0.3, "step": 0.1}, {"one-cycle": 0.02, "step": 0.02}


def modern(images: int, network: NetworkSpec, given: dict) -> dict:
    """The modern recipe for this many training images; given: the options that were given, by name, on which others depend."""
    has_norm = any(layer.has_norm for layer in network.convolutions)
    batch_size = given.get("batch_size") or (32 if images < FEW else 64 if images < MANY else 128)
    fewest, most = EPOCHS
    epochs = min(max(fewest, round(STEPS / math.ceil(images / batch_size))), most)
    schedule = given.get("schedule") or "one-cycle"
    return {
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": (RATES if has_norm else RATES_WITHOUT_NORM)[schedule],
        "weight_decay": 5e-4,
        "schedule": schedule,
        "augment": NONE if images >= MANY and network.parameters < SMALL else AUTO,
    }


def recipe_line(asked: str | None, options, data: str, images: int) -> str:
    """One line for a person: which recipe, why, and its values. asked: the recipe that was given; None: by the data."""
    if asked is None:
        why = f"for {images} training images of your own; --recipe paper takes the paper's"
        why = why if options.recipe == MODERN else "since the classes are CIFAR-10's"
    else:
        why = f"for {data}" if options.data in PAPERS_DATA and asked == PAPER else "as chosen"
    return (
        f"recipe: {options.recipe}, {why}: epochs {options.epochs}, batch size {options.batch_size}, schedule {options.schedule},"
        f" lr {options.lr:g}, weight decay {options.weight_decay:g}, augment {options.augment}"
    )
