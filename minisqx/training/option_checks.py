"""What is accepted as an option of a run; everything else is refused in one line."""

from typing import Any

from minisqx.checks import is_number, is_whole, require
from minisqx.data import GROUPINGS, SPLITS
from minisqx.errors import OptionError
from minisqx.training.recipes import RECIPES

SCHEDULES = ("step", "one-cycle")
BALANCED = "balanced"
MAX_EPOCHS = 10_000  # limited by the size of the history in a checkpoint


def check_options(o: Any) -> None:
    """Raises OptionError for an impossible value. o: `TrainingOptions`, of which values that the recipe gives may be None."""
    require(
        o.image_size is None or is_whole(o.image_size, 1, 4096),
        "image size",
        o.image_size,
        "a side in pixels from 1 to 4096, such as 64",
    )
    require(isinstance(o.skip_bad_images, bool), "skip bad images", o.skip_bad_images, "True or False")
    require(o.split in SPLITS, "split", o.split, "one of " + ", ".join(SPLITS))
    require(o.recipe is None or o.recipe in RECIPES, "recipe", o.recipe, "one of " + ", ".join(RECIPES))
    require(o.groups is None or o.groups in GROUPINGS, "groups", o.groups, "one of " + ", ".join(GROUPINGS))
    require(o.epochs is None or is_whole(o.epochs, 1, MAX_EPOCHS), "epochs", o.epochs, f"a whole number from 1 to {MAX_EPOCHS}")
    require(
        o.batch_size is None or is_whole(o.batch_size, 1, 65_536),
        "batch size",
        o.batch_size,
        "a whole number of images from 1 to 65536",
    )
    require(o.lr is None or is_number(o.lr) and o.lr > 0, "lr", o.lr, "a learning rate over 0, such as 0.1")
    require(is_number(o.momentum) and 0 <= o.momentum < 1, "momentum", o.momentum, "a number of at least 0 and below 1")
    require(isinstance(o.nesterov, bool), "nesterov", o.nesterov, "True or False")
    if o.nesterov and o.momentum == 0:
        raise OptionError("momentum 0 with nesterov: expected a momentum over 0, or --no-nesterov (nesterov=False)")
    require(
        o.weight_decay is None or is_number(o.weight_decay) and 0 <= o.weight_decay <= 1,
        "weight decay",
        o.weight_decay,
        "a number from 0 to 1, such as 1e-4",
    )
    require(o.schedule is None or o.schedule in SCHEDULES, "schedule", o.schedule, "one of " + ", ".join(SCHEDULES))
    require(is_number(o.gamma) and 0 < o.gamma <= 1, "gamma", o.gamma, "a factor over 0 and up to 1, such as 0.2")
    require(is_number(o.average) and 0 <= o.average < 1, "average", o.average, "a decay of at least 0 and below 1, such as 0.999")
    validation_ok = is_number(o.validation) and o.validation >= 0 and (o.validation < 1 or is_whole(o.validation, 1, 2**31))
    require(
        validation_ok,
        "validation",
        o.validation,
        "a share of the training images below 1, such as 0.1, or a whole number of them, or 0",
    )
    require(is_whole(o.seed, 0, 2**63 - 1), "seed", o.seed, "a whole number from 0 to 9223372036854775807")
    require(o.threads is None or is_whole(o.threads, 1, 1024), "threads", o.threads, "a whole number from 1 to 1024")
    if o.milestones is not None:
        require(
            o.schedule == "step",
            "milestones",
            o.milestones,
            "none with the one-cycle schedule: leave them out or use the step schedule",
        )
        require(_rising(o.milestones), "milestones", o.milestones, "increasing positive epochs, such as 60,120,150,180")
    if o.restarts is not None:
        require(_rising(o.restarts), "restarts", o.restarts, "increasing positive epochs, such as 30,60")
        last = o.restarts[-1]
        require(o.epochs is None or last < o.epochs, "restarts", o.restarts, f"epochs before the end, below {o.epochs}")
    require(o.patience is None or is_whole(o.patience, 1, MAX_EPOCHS), "patience", o.patience, f"epochs from 1 to {MAX_EPOCHS}")
    require(o.class_weights in (None, BALANCED), "class weights", o.class_weights, f"{BALANCED}, or none")


def _rising(epochs: Any) -> bool:
    """Whether these are increasing epochs, at least one."""
    listed = isinstance(epochs, (tuple, list)) and len(epochs) > 0 and all(is_whole(epoch, 1, 2**31) for epoch in epochs)
    return listed and all(before < after for before, after in zip(epochs, epochs[1:]))
