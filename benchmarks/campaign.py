"""The trainings behind the tables of accuracy: which there are, in which order, with which options."""

from collections.abc import Iterator
from dataclasses import dataclass

from minisqx.training.options import TrainingOptions

# The recipe that was chosen on validation images, and what it is compared with.
RECIPE: dict[str, object] = {"schedule": "one-cycle", "lr": 0.3, "weight_decay": 5e-4, "dropout": 0.0, "augment": "none"}
CHANGES: dict[str, dict[str, object]] = {
    "recipe": {},
    "average": {"average": 0.999},
    "crop-flip": {"augment": "crop,flip"},
    "dropout-0.1": {"dropout": 0.1},
    "lr-0.15": {"lr": 0.15},
    "lr-0.6": {"lr": 0.6},
    "weight-decay-1e-4": {"weight_decay": 1e-4},
    "weight-decay-2e-4": {"weight_decay": 2e-4},
    "batch-64": {"batch_size": 64, "lr": 0.2},
    "batch-256": {"batch_size": 256, "lr": 0.45},
    "conv-bn-act": {"block_order": "conv-bn-act"},
    "stem-padding": {"stem_padding": 1},
    "160-epochs": {"epochs": 160},
}
COMPARED_EPOCHS, VALIDATION = 80, 5000


@dataclass(frozen=True)
class Training:
    """One run. name: of its folder and its result file. table: the table that it belongs to. data: "cifar10" or "signs"."""

    name: str
    table: str
    options: TrainingOptions
    data: str = "cifar10"


def trainings() -> Iterator[Training]:
    """All trainings, the most useful first."""
    for seed in range(3):
        for width in (0.2, 0.4):
            for name, change in CHANGES.items():
                options = {"width": width, "epochs": COMPARED_EPOCHS, "validation": VALIDATION, "seed": seed} | RECIPE | change
                yield Training(f"comparison-{width:g}x-{name}-s{seed}", "comparison", TrainingOptions(**options))
