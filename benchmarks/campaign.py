"""The trainings behind the tables of accuracy: which there are, in which order, with which options."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from minisqx.spec import zoo
from minisqx.training.options import TrainingOptions
from minisqx.training.recipes import RATES_WITHOUT_NORM

# What `modern` trains with, beside `peak`, `augmentation` and `weight_decay`: the best of what was tried on validation images.
RECIPE: dict[str, object] = {"schedule": "one-cycle", "lr": 0.3, "dropout": 0.0}
# A network learns from one of its depth with twice its width: 0.2x learns two points from 0.4x and nothing from 14-0.5x, which is
# more accurate. The others follow from that, and were not compared.
TEACHERS = {
    "shallow-06-0.4x": "shallow-06-0.8x",
    "shallow-06-0.2x": "shallow-06-0.4x",
    "shallow-06-0.3x": "shallow-06-0.6x",
    "shallow-06-0.125x": "shallow-06-0.3x",
}
# Each row of the zoo and its epochs: the most useful first, after its teacher. A row has as many as fit into hours on two cores.
ROWS = {
    "shallow-06-0.8x": 120,
    "shallow-06-0.4x": 150,
    "shallow-06-0.2x": 150,
    "shallow-09-0.5x": 150,
    "shallow-06-0.6x": 100,
    "shallow-06-0.3x": 120,
    "shallow-06-0.125x": 120,
    "shallow-06-0.5x": 120,
    "shallow-14-0.2x": 120,
    "shallow-12-0.4x": 100,
    "shallow-06-0.575x": 80,
    "shallow-14-0.5x": 100,
    "shallow-07-0.7x": 120,
    "shallow-06-0.9x": 80,
    "squeezenet-v1.1": 60,
    "squeezenet-v1.0": 120,
    "shallow-21-0.7x": 100,
    "shallow-06-1.5x": 60,
    "shallow-06-2x": 40,
    "squeezenext-23-1x-v5": 40,
    "squeezenext-23-1x-v1": 40,
    "shallow-14-2x": 40,
    "squeezenext-23-2x-v1": 40,
}
# These networks are trained with three seeds, all others with one.
THRICE = ("shallow-06-0.2x", "shallow-06-0.4x", "shallow-06-0.5x")
# Networks trained as the paper says.
PAPER = ("shallow-06-0.2x", "shallow-06-0.4x", "shallow-06-0.125x", "shallow-06-0.3x", "shallow-06-0.5x")
# German traffic signs, with validation images of other drives: what their rows add to the recipe. A flip would turn a sign into
# another one.
SIGNS: dict[str, dict[str, object]] = {
    "signs-0.5x": {"width": 0.5, "epochs": 70, "augment": "crop=2,rotate=5,scale=0.1,brightness=0.5,contrast=0.5"},
    "signs-0.2x": {"width": 0.2, "epochs": 120, "augment": "crop=1,scale=0.05,brightness=0.5,contrast=0.5,saturation=0.5"},
}
# The paper's recipe on one network in fewer epochs, beside PyTorch (`benchmarks.truth`).
TRUTH, TRUTH_EPOCHS, TRUTH_SEEDS = "shallow-06-0.2x", 30, 10
# Images that a row of the zoo sets aside: enough for its temperature and a look at its course.
ROW_VALIDATION = 1000

# What the recipe was chosen by, with one seed: network, epochs, and options beside `RECIPE`; the weight decay is `EXPLORED_DECAY`
# where an entry has no other.
EXPLORED_DECAY = 5e-4
EXPLORED: tuple[tuple[str, int, dict[str, object]], ...] = (
    ("shallow-06-0.2x", 200, {"augment": "none"}),
    ("shallow-06-0.2x", 200, {"augment": "flip"}),
    ("shallow-06-0.2x", 40, {"augment": "flip"}),
    ("shallow-06-0.2x", 40, {"augment": "flip", "weight_decay": 1e-4}),
    ("shallow-06-0.4x", 60, {"augment": "flip"}),
    ("shallow-06-0.4x", 60, {"augment": "crop=2,flip"}),
    ("shallow-06-0.4x", 60, {"augment": "crop=2,flip", "weight_decay": 1e-4}),
    ("shallow-06-0.4x", 60, {"augment": "crop=2,flip", "weight_decay": 2e-5}),
    ("shallow-06-0.4x", 30, {"augment": "crop=2,flip"}),
    ("shallow-06-0.4x", 30, {"augment": "crop=2,flip", "weight_decay": 1e-4}),
    ("shallow-06-0.4x", 30, {"augment": "crop=2,flip", "weight_decay": 3e-5}),
    ("shallow-06-0.4x", 30, {"augment": "crop=2,flip", "lr": 0.1}),
    ("shallow-06-0.4x", 30, {"augment": "crop=2,flip", "lr": 0.1, "weight_decay": 1e-4}),
    ("shallow-06-0.4x", 30, {"augment": "crop=2,flip", "lr": 0.6, "weight_decay": 1e-4}),
    ("shallow-06-0.8x", 30, {"augment": "crop=2,flip", "weight_decay": 1e-4}),
    ("shallow-06-0.8x", 60, {"augment": "crop,flip", "weight_decay": 2e-4}),
    ("shallow-09-0.5x", 40, {"augment": "crop,flip", "weight_decay": 1e-4}),
    ("shallow-09-0.5x", 40, {"augment": "crop,flip,erase", "weight_decay": 1e-4}),
    ("shallow-09-0.5x", 40, {"augment": "crop,flip", "weight_decay": 1e-4, "distill": "shallow-06-0.8x"}),
)
# What else is compared, with three seeds, in short runs, against the recipe without a teacher.
CHANGES: dict[str, dict[str, object]] = {
    "recipe": {},
    "augment-none": {"augment": "none"},
    "augment-flip": {"augment": "flip"},
    "augment-crop-flip": {"augment": "crop,flip"},
    "steps": {"schedule": "step", "lr": 0.1},
    "average": {"average": 0.999},
    "lr-0.15": {"lr": 0.15},
    "lr-0.6": {"lr": 0.6},
    "weight-decay-1e-4": {"weight_decay": 1e-4},
    "weight-decay-5e-4": {"weight_decay": 5e-4},
    "weight-decay-1e-3": {"weight_decay": 1e-3},
    "batch-64": {"batch_size": 64, "lr": 0.2},
    "dropout-0.1": {"dropout": 0.1},
    "dropout-0.3": {"dropout": 0.3},
    "dropout-0.5": {"dropout": 0.5},
    "conv-bn-act": {"block_order": "conv-bn-act"},
    "stem-padding": {"stem_padding": 1},
}
COMPARED, COMPARED_EPOCHS = ("shallow-06-0.2x", "shallow-06-0.4x"), 20
# Images that a comparison sets aside; it never looks at the test images.
COMPARED_VALIDATION = 5000


@dataclass(frozen=True)
class Training:
    """One run. name: of its folder and its result file. table: the table that it belongs to. data: "cifar10" or "signs"."""

    name: str
    table: str
    options: TrainingOptions
    data: str = "cifar10"


def augmentation(network: str) -> str:
    """Less of it for the smallest networks, which underfit: `EXPLORED`; of networks beyond 0.4x nothing has been compared."""
    parameters = zoo.network(network).parameters
    return "flip" if parameters < 20_000 else "crop=2,flip" if parameters < 50_000 else "crop,flip"


def weight_decay(network: str) -> float:
    """More of it for the smallest networks: `EXPLORED`. The border between 0.2x and 0.4x was not looked for."""
    return 5e-4 if zoo.network(network).parameters < 20_000 else 1e-4


def peak(network: str) -> float:
    """Of the learning rate: without batch norm, that of `RECIPE` diverges."""
    has_norm = any(layer.has_norm for layer in zoo.network(network).convolutions)
    return RECIPE["lr"] if has_norm else RATES_WITHOUT_NORM["one-cycle"]


def recipe(network: str) -> dict[str, object]:
    """What `modern` trains a network with, apart from a teacher."""
    own = {"lr": peak(network), "augment": augmentation(network), "weight_decay": weight_decay(network)}
    return RECIPE | {"model": network} | own


def row(network: str, epochs: int, seed: int) -> Training:
    """A row of the zoo."""
    own = {"epochs": epochs, "validation": ROW_VALIDATION, "seed": seed, "distill": TEACHERS.get(network)}
    return Training(f"{network}-modern-s{seed}", "modern", TrainingOptions(**recipe(network) | own))


def paper_row(network: str) -> Training:
    """The paper's recipe: the defaults, on all training images."""
    return Training(f"{network}-paper-s0", "paper", TrainingOptions(model=network, validation=0))


def signs_row(name: str) -> Training:
    # Drives with the same number are one group, whatever their class: of all images, a twentieth of the groups is a tenth.
    own = {"groups": "prefix", "recipe": "modern", "validation": 0.05, "weight_decay": 5e-4}
    return Training(f"{name}-modern-s0", "signs", TrainingOptions(**RECIPE | own | SIGNS[name]), "signs")


def truth() -> Iterator[Training]:
    for seed in range(TRUTH_SEEDS):
        options = TrainingOptions(model=TRUTH, epochs=TRUTH_EPOCHS, validation=0, seed=seed)
        yield Training(f"{TRUTH}-paper-{TRUTH_EPOCHS}-epochs-s{seed}", "truth", options)


def changes(network: str) -> dict[str, dict[str, object]]:
    """`CHANGES`, and a teacher, that differ from the network's own recipe."""
    base = recipe(network)
    possible = CHANGES | {"teacher": {"distill": TEACHERS[network]}}
    return {name: change for name, change in possible.items() if not change or base | change != base}


def compared(change: str, network: str, seed: int) -> Training:
    own = {"epochs": COMPARED_EPOCHS, "validation": COMPARED_VALIDATION, "seed": seed}
    options = TrainingOptions(**recipe(network) | own | changes(network)[change])
    return Training(f"comparison-{network}-{change}-s{seed}", "comparison", options)


def explored(network: str, epochs: int, options: dict[str, object]) -> Training:
    """A run by which the recipe was chosen."""
    own = {"model": network, "weight_decay": EXPLORED_DECAY, "epochs": epochs, "validation": COMPARED_VALIDATION}
    words = "-".join(f"{name}-{value}" for name, value in options.items())
    name = re.sub("[_,=]", "-", f"comparison-{network}-{words}-{epochs}-epochs-s0")
    return Training(name, "comparison", TrainingOptions(**RECIPE | own | options))


def trainings() -> Iterator[Training]:
    """All trainings, the most useful first: what the recipe hangs on, the zoo, what else it is compared with, more seeds."""
    yield from (explored(*each) for each in EXPLORED)
    yield from map(signs_row, SIGNS)
    for network, epochs in ROWS.items():
        yield row(network, epochs, 0)
        if network in PAPER:
            yield paper_row(network)
    yield from truth()
    for seed in range(3):
        for network in COMPARED:
            yield from (compared(change, network, seed) for change in changes(network))
        if seed:
            yield from (row(network, ROWS[network], seed) for network in THRICE)
