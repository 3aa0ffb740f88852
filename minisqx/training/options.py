"""`TrainingOptions`, and the same options on the command line.

This module reads no files and does not import Numba, so that invalid options are reported at once.
"""

import argparse
import os
import shlex
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from minisqx.checks import make_fields_plain, require
from minisqx.data import DRAWN, FILES
from minisqx.data.augmentation import AUTO, NONE, USUAL, Augmentation
from minisqx.errors import OptionError
from minisqx.spec import BLOCK_ORDERS, NetworkSpec, zoo
from minisqx.spec.activations import ACTIVATIONS
from minisqx.spec.squeezenext import SEPARABLE_ORDERS, SqueezeNextSpec
from minisqx.training.option_checks import BALANCED, SCHEDULES, check_options
from minisqx.training.recipes import MODERN, PAPER, PAPER_VALUES, PAPERS_DATA, modern

NETWORK_OPTIONS = (
    "width", "blocks", "dropout", "activation", "block_order", "stem_padding", "separable_order", "shortcut_activation",
)  # fmt: skip
SKIP_BAD_IMAGES = "skip and list the files of an image folder that can't be used, instead of stopping at the first"
GROUPS = (
    "files of an image folder that belong together, such as frames of a film, and stay in one part: prefix (one name up to a"
    " number at its end) or folder (<class>/<group>/<image>); an HDF5 file has an array 'groups'"
)
SPLIT = (
    "how images of a folder are set aside for testing and validation: files (by each file's name alone, so that another"
    " photograph moves no other) or drawn (exact shares, drawn with the seed); other data is always drawn"
)
BY_RECIPE: Any = None  # a value that the recipe has yet to give, see `TrainingOptions.settled`
# Options that older runs lack, and which then change nothing.
LATER = ("recipe", "init", "freeze", "distill", "restarts", "patience", "class_weights")
# Options that may change when a run is resumed, since they don't change its results.
PLACE_OPTIONS = ("data", "threads")
RESUMED_OPTIONS = (*PLACE_OPTIONS, "distill")  # the teacher must be the same, at whatever place


@dataclass(frozen=True)
class TrainingOptions:
    """All options of a training run. What isn't given comes from a recipe; docs/design.md says what the paper leaves open.

    Without `data`, or with CIFAR-10 or the embedded data, that is the paper's recipe. For images of one's own it depends on their
    number: epochs, batch_size, lr, weight_decay, schedule and augment are None until `settled`.

    model: "shallow" or another name of `zoo`.
    width, blocks, dropout, activation, block_order, stem_padding, separable_order, shortcut_activation: see
        `SqueezeNextSpec`; None: the default of the model.
    data: archive, folder, HDF5 file, or a name; None: CIFAR-10 or, without network, the embedded data (see `open_dataset`).
    image_size: side in pixels to which the images of an image folder are resized; None: their own size.
    skip_bad_images: skip the files of an image folder that can't be used, with a line for each, instead of raising DataError.
    groups, split: which images of a folder belong together and stay in one part, and how some are set aside, as in
        `open_dataset`.
    recipe: "modern" or "paper" (`recipes`); None: by the data.
    init: a checkpoint, or the name of shipped weights, whose weights the network starts from where their shapes fit.
    freeze: the network's units up to this one, or up to this stage, are not trained: see `Network.freeze`.
    distill: a checkpoint, or the name of shipped weights, whose probabilities the network learns beside the labels:
        `minisqx.training.distillation`.
    schedule: "step" multiplies `lr` by `gamma` after each of `milestones` (epochs; None: at 30, 60, 75 and 90 % of `epochs`).
        "one-cycle" rises linearly from 0 to `lr` in the first 20 % of all steps, then falls linearly to 0.
    restarts: epochs after which the schedule begins anew, over the epochs up to the next one or to the end.
    patience: the run ends after so many epochs without a better validation result; None: never before the planned end.
    class_weights: "balanced" weighs images in the loss so that all classes count the same; None: all images count the same.
    average: the decay of the moving average of the weights (`MovingAverage`), which is then evaluated and saved, at least 0 and
        below 1; 0: none.
    augment: the text of an `Augmentation`, such as "crop,flip", "auto" or "none".
    validation: training images set aside to select best.h5: a share below 1, or a count; 0: best.h5 is the last epoch. Not used
        if the data set has validation images.
    threads: None: MINISQX_NUM_THREADS, else the CPUs available to this process.
    out: the run folder; if it isn't empty, the run folder is created in it. None: runs/<network>-<time>.

    Raises OptionError for invalid values.
    """

    model: str = zoo.SHALLOW
    width: float | None = None
    blocks: tuple[int, int, int, int] | None = None
    dropout: float | None = None
    activation: str | None = None
    block_order: str | None = None
    stem_padding: int | None = None
    separable_order: str | None = None
    shortcut_activation: bool | None = None
    data: str | None = None
    image_size: int | None = None
    skip_bad_images: bool = False
    groups: str | None = None
    split: str = FILES
    recipe: str | None = None
    init: str | None = None
    freeze: str | None = None
    distill: str | None = None
    epochs: int = BY_RECIPE
    batch_size: int = BY_RECIPE
    lr: float = BY_RECIPE
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = BY_RECIPE
    schedule: str = BY_RECIPE
    milestones: tuple[int, ...] | None = None
    gamma: float = 0.2
    restarts: tuple[int, ...] | None = None
    patience: int | None = None
    average: float = 0.0
    class_weights: str | None = None
    augment: str = BY_RECIPE
    validation: float = 0.1
    seed: int = 0
    threads: int | None = None
    out: str | None = None

    def __post_init__(self) -> None:
        make_fields_plain(self)
        for name in ("data", "init", "distill", "out"):
            path = getattr(self, name)
            require(path is None or isinstance(path, (str, os.PathLike)), name, path, "a path or a name")
            object.__setattr__(self, name, None if path is None else os.fspath(path))
        if self.recipe is None and self.data in PAPERS_DATA:
            object.__setattr__(self, "recipe", PAPER)
        if self.schedule is None and self.milestones is not None:
            object.__setattr__(self, "schedule", "step")
        if self.recipe == PAPER:
            for name, value in PAPER_VALUES.items():
                if getattr(self, name) is None:
                    object.__setattr__(self, name, value)
        check_options(self)
        if self.augment is not None:
            object.__setattr__(self, "augment", str(Augmentation.parse(self.augment)))
        for name in ("blocks", "milestones", "restarts"):
            given = getattr(self, name)
            # What is no list is refused below, or by the network.
            object.__setattr__(self, name, tuple(given) if isinstance(given, list) else given)
        side = self.image_size or 32
        spec = self.network(input_size=(side, side))
        if self.freeze is not None:
            spec.units_up_to(self.freeze)

    def settled(self, images: int, own: bool, network: NetworkSpec | None = None) -> "TrainingOptions":
        """The options with the values of their recipe in the place of those that were not given.

        images: for training. own: whether they are the user's own, not CIFAR-10. network: None: the options' for ten classes.
        """
        recipe = self.recipe or (MODERN if own else PAPER)
        given = {name: value for name in PAPER_VALUES if (value := getattr(self, name)) is not None}
        values = PAPER_VALUES if recipe == PAPER else modern(images, network or self.network(), given)
        return replace(self, recipe=recipe, **values | given)

    @classmethod
    def from_dict(cls, options: dict) -> "TrainingOptions":
        """The inverse of `to_dict`. Raises OptionError for unknown or missing entries."""
        names = {field.name for field in fields(cls)}
        if isinstance(options, dict):
            # The config of an older run lacks these options.
            options = {"skip_bad_images": False, "groups": None, "average": 0.0, "split": DRAWN, **options}
            options = dict.fromkeys(LATER) | {"recipe": PAPER} | options
        if not isinstance(options, dict) or set(options) != names:
            given = sorted(options) if isinstance(options, dict) else options
            raise OptionError(f"training options {given!r}: expected the entries {', '.join(sorted(names))}")
        return cls(**options)

    def to_dict(self) -> dict:
        """Every option, in JSON types."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def provenance(self) -> dict:
        """`to_dict` without the options that don't affect results: data, threads, out; and only the names of files."""
        kept = {key: value for key, value in self.to_dict().items() if key not in (*PLACE_OPTIONS, "out")}
        models = {"init": self.init, "distill": self.distill}
        return kept | {name: None if path is None else os.path.basename(path) for name, path in models.items()}

    def command(self) -> str:
        """The equivalent command line: every option that differs from its default, except --threads and --out."""
        return shlex.join(self.words())

    def words(self) -> list[str]:
        """The words of `command`."""
        words = ["minisqx", "train"]
        for name, value in asdict(self).items():
            option, default = name.replace("_", "-"), getattr(TrainingOptions, name)
            if self.recipe == PAPER:
                default = PAPER_VALUES.get(name, PAPER if name == "recipe" and self.data in PAPERS_DATA else default)
            if name in ("threads", "out") or value == default:
                continue
            if isinstance(value, bool):
                words.append(f"--{option}" if value else f"--no-{option}")
            else:
                words += [f"--{option}", ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
        return words

    def network(self, num_classes: int = 10, input_size: tuple[int, int] = (32, 32)) -> NetworkSpec:
        """The network for this number of classes and these images, (height, width) in pixels."""
        chosen = {name: getattr(self, name) for name in NETWORK_OPTIONS if getattr(self, name) is not None}
        return zoo.network(self.model, num_classes=num_classes, input_size=input_size, **chosen)


def whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number") from None


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number") from None


def _with_number(name: str, value: float) -> str:
    return name if value is True else f"{name}={value:g}"


def _whole_numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected whole numbers separated by commas") from None


def _count_or_share(text: str) -> int | float:
    return int(text) if text.strip().isdecimal() else number(text)


class _Group:
    """A group of options with a heading. Options not given are absent from the parsed arguments; the help shows defaults."""

    def __init__(self, parser, heading: str):
        self._group = parser.add_argument_group(heading)

    def value(self, option: str, convert, metavar: str, text: str, default: str | None = None) -> None:
        name = option[2:].replace("-", "_")
        if default is None and name in PAPER_VALUES:
            default = f"by the recipe; the paper's: {PAPER_VALUES[name]}"
        if default is None:
            known = getattr(SqueezeNextSpec if name in NETWORK_OPTIONS else TrainingOptions, name)
            default = ",".join(map(str, known)) if isinstance(known, tuple) else str(known)
        self._group.add_argument(
            option, type=convert, metavar=metavar, default=argparse.SUPPRESS, help=f"{text} (default: {default})"
        )

    def flag(self, option: str, name: str, text: str, value: bool = False) -> None:
        """An option without an argument, which sets `name` to `value`."""
        self._group.add_argument(option, dest=name, action="store_const", const=value, default=argparse.SUPPRESS, help=text)


def add_model_arguments(parser, checkpoint: bool = False) -> None:
    """Adds --model and the options of the network. Options not given are absent from the parsed arguments.

    checkpoint: whether the help offers a checkpoint file as --model, too.
    """
    group = _Group(parser, "model")
    text = f"{zoo.SHALLOW}, with the options below, or a name from `minisqx models`"
    group.value("--model", str, "MODEL" if checkpoint else "NAME", text + ", or a checkpoint file" * checkpoint)
    add_network_arguments(parser)


def add_network_arguments(parser) -> None:
    """Adds the options of the network. Options not given are absent from the parsed arguments."""
    group = _Group(parser, "network (the named SqueezeNext networks have their own defaults)")
    group.value("--width", number, "W", "width multiplier, which scales the channels of every layer")
    group.value("--blocks", _whole_numbers, "A,B,C,D", "bottlenecks in each of the four stages")
    group.value("--dropout", number, "P", "dropout probability, before the head")
    group.value("--activation", str, "NAME", "activation function: " + " or ".join(ACTIVATIONS))
    group.value("--block-order", str, "ORDER", "order of operations in a basic block: " + " or ".join(BLOCK_ORDERS))
    group.value("--stem-padding", whole, "N", "padding of the first convolution: 0 or 1")
    group.value("--separable-order", str, "ORDER", "order of the 1x3 and the 3x1 convolution: " + " or ".join(SEPARABLE_ORDERS))
    group.flag("--no-shortcut-activation", "shortcut_activation", "no activation in the shortcut")


def add_arguments(parser) -> None:
    """Adds all options of `minisqx train` to an `argparse` parser; `given_options` reads those of a run."""
    add_run_arguments(parser)
    parser.add_argument(
        "--resume",
        metavar="RUN_DIR",
        help="continue a stopped run to its planned end; only --data, --distill, --threads and --extend may be given with it",
    )
    parser.add_argument(
        "--extend",
        type=whole,
        metavar="N",
        help="with --resume: train a finished run for N more epochs, over which its schedule begins anew",
    )
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="train with all processes that MPI has started, as in `mpiexec -n 4 minisqx train --distributed`; the results are"
        " those of one process",
    )
    parser.add_argument(
        "--check-reproducible",
        action="store_true",
        help="instead of training, check that the first batches give identical bits on 1 to 4 threads, and when stopped and"
        " resumed; leaves no files",
    )


def add_run_arguments(parser) -> None:
    """Adds the options of a run, the fields of `TrainingOptions`."""
    add_model_arguments(parser)
    group = _Group(parser, "training")
    group.value(
        "--data",
        str,
        "PATH",
        "CIFAR-10 archive or folder, image folder or HDF5 file",
        "found or downloaded CIFAR-10, else embedded data",
    )
    group.value("--image-size", whole, "N", "resize and crop the images of an image folder to N x N pixels", "their own size")
    group.flag("--skip-bad-images", "skip_bad_images", SKIP_BAD_IMAGES, value=True)
    group.value("--groups", str, "HOW", GROUPS, "each image is alone")
    group.value("--split", str, "HOW", SPLIT)
    text = "gives the values that you don't: modern (one cycle; batch size and epochs by the number of images) or paper"
    group.value("--recipe", str, "NAME", text, "modern for images of your own, paper for CIFAR-10 and the embedded data")
    text = "start from the weights of this checkpoint, or of a name such as shallow-06-0.2x, where their shapes fit"
    group.value("--init", str, "MODEL", text, "random weights")
    text = "don't train the network up to this stage, such as stem, stage2 or stage2.block1: its weights and statistics stay"
    group.value("--freeze", str, "STAGE", text, "train all")
    text = "learn the probabilities of this larger model, a checkpoint or a name such as shallow-06-0.2x, beside the labels"
    group.value("--distill", str, "MODEL", text, "the labels alone")
    group.value("--epochs", whole, "N", "passes over the training images")
    group.value("--batch-size", whole, "N", "images per step")
    group.value("--lr", number, "X", "learning rate at the start (step) or at the peak (one-cycle)")
    group.value("--momentum", number, "X", "momentum")
    group.flag("--no-nesterov", "nesterov", "plain momentum instead of Nesterov's")
    group.value("--weight-decay", number, "X", "weight decay, for all parameters")
    group.value("--schedule", str, "NAME", "learning rate schedule: " + " or ".join(SCHEDULES))
    group.value(
        "--milestones",
        _whole_numbers,
        "E,E,...",
        "epochs after which the step schedule lowers the learning rate",
        "30, 60, 75 and 90 %% of the epochs",
    )
    group.value("--gamma", number, "X", "factor by which the step schedule lowers the learning rate")
    text = "epochs after which the schedule begins anew, over the epochs up to the next one or to the end"
    group.value("--restarts", _whole_numbers, "E,E,...", text, "none")
    text = "end the run after N epochs without a better validation accuracy or, at the same, a lower loss"
    group.value("--patience", whole, "N", text, "never before the planned end")
    text = f"{BALANCED}: weigh images in the loss so that all classes count the same, however many images they have"
    group.value("--class-weights", str, "HOW", text, "all images count the same")
    group.value(
        "--average", number, "X", "decay of a moving average of the weights, which is evaluated and saved, such as 0.999; 0: none"
    )
    group.value(
        "--augment",
        str,
        "LIST",
        "random changes of the training images: a list of "
        + ", ".join(_with_number(*each) for each in USUAL.items())
        + f"; {AUTO} (all that suit any photograph: no flip, no erase) or {NONE}",
    )
    group.value(
        "--validation",
        _count_or_share,
        "N",
        "training images set aside for validation, which selects best.h5, a count or a share; 0: best.h5 is the last epoch; not"
        " used if the data has validation images",
    )
    group.value("--seed", whole, "N", "seed for weights, dropout, shuffling and augmentation; results do not depend on --threads")
    group.value("--threads", whole, "N", "threads", "MINISQX_NUM_THREADS, else the CPUs available to this process")
    group.value("--out", str, "DIR", "run folder; if it isn't empty, the run gets a new folder in it", "runs/NETWORK-TIME")


def given_network(args: argparse.Namespace, model: str | None = None) -> NetworkSpec:
    """The network described by the parsed arguments. model: overrides --model."""
    chosen = {name: getattr(args, name) for name in (*NETWORK_OPTIONS, "num_classes", "input_size") if hasattr(args, name)}
    return zoo.network(str(model or getattr(args, "model", zoo.SHALLOW)), **chosen)


def given_options(args: argparse.Namespace) -> dict:
    """Name -> value of the training options given on the command line."""
    return {field.name: getattr(args, field.name) for field in fields(TrainingOptions) if hasattr(args, field.name)}
