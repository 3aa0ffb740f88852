"""`TrainingOptions`, and the same options on the command line.

This module reads no files and does not import Numba, so that invalid options are reported at once.
"""

import argparse
import shlex
from dataclasses import asdict, dataclass, fields

from minisqx.checks import is_number, is_whole, make_fields_plain, require
from minisqx.data import GROUPINGS
from minisqx.data.augmentation import AUTO, NONE, USUAL, Augmentation
from minisqx.errors import OptionError
from minisqx.spec import BLOCK_ORDERS, NetworkSpec, zoo
from minisqx.spec.activations import ACTIVATIONS
from minisqx.spec.squeezenext import SEPARABLE_ORDERS, SqueezeNextSpec

SCHEDULES = ("step", "one-cycle")
NETWORK_OPTIONS = (
    "width", "blocks", "dropout", "activation", "block_order", "stem_padding", "separable_order", "shortcut_activation",
)  # fmt: skip
SKIP_BAD_IMAGES = "skip and list the files of an image folder that can't be used, instead of stopping at the first"
GROUPS = (
    "files of an image folder that belong together, such as frames of a film, and stay in one part: prefix (one name up to a"
    " number at its end) or folder (<class>/<group>/<image>); an HDF5 file has an array 'groups'"
)
# Options that may change when a run is resumed, since they don't change its results.
PLACE_OPTIONS = ("data", "threads")
MAX_EPOCHS = 10_000  # limited by the size of the history in a checkpoint


@dataclass(frozen=True)
class TrainingOptions:
    """All options of a training run. The defaults are the paper's recipe; docs/design.md says what the paper leaves open.

    model: "shallow" or another name of `zoo`.
    width, blocks, dropout, activation, block_order, stem_padding, separable_order, shortcut_activation: see
        `SqueezeNextSpec`; None: the default of the model.
    data: archive, folder, HDF5 file, or a name; None: CIFAR-10 or, without network, the embedded data (see `open_dataset`).
    image_size: side in pixels to which the images of an image folder are resized; None: their own size.
    skip_bad_images: skip the files of an image folder that can't be used, with a line for each, instead of raising DataError.
    groups: which images of a folder belong together and stay in one part, as in `open_dataset`; None: each image is alone.
    schedule: "step" multiplies `lr` by `gamma` after each of `milestones` (epochs; None: at 30, 60, 75 and 90 % of `epochs`).
        "one-cycle" rises linearly from 0 to `lr` in the first 20 % of all steps, then falls linearly to 0.
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
    epochs: int = 200
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 1e-4
    schedule: str = "step"
    milestones: tuple[int, ...] | None = None
    gamma: float = 0.2
    average: float = 0.0
    augment: str = "crop,flip"
    validation: float = 0.1
    seed: int = 0
    threads: int | None = None
    out: str | None = None

    def __post_init__(self) -> None:
        make_fields_plain(self)
        _check(self)
        object.__setattr__(self, "augment", str(Augmentation.parse(self.augment)))
        for name in ("blocks", "milestones"):
            given = getattr(self, name)
            # What is no list is refused below, or by the network.
            object.__setattr__(self, name, tuple(given) if isinstance(given, list) else given)
        for name in ("data", "out"):
            path = getattr(self, name)
            object.__setattr__(self, name, None if path is None else str(path))
        side = self.image_size or 32
        self.network(input_size=(side, side))

    @classmethod
    def from_dict(cls, options: dict) -> "TrainingOptions":
        """The inverse of `to_dict`. Raises OptionError for unknown or missing entries."""
        names = {field.name for field in fields(cls)}
        if isinstance(options, dict):
            # The config of an older run lacks these options.
            options = {"skip_bad_images": False, "groups": None, "average": 0.0, **options}
        if not isinstance(options, dict) or set(options) != names:
            given = sorted(options) if isinstance(options, dict) else options
            raise OptionError(f"training options {given!r}: expected the entries {', '.join(sorted(names))}")
        return cls(**options)

    def to_dict(self) -> dict:
        """Every option, in JSON types."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def recipe(self) -> dict:
        """`to_dict` without the options that don't affect results: data, threads, out."""
        return {key: value for key, value in self.to_dict().items() if key not in (*PLACE_OPTIONS, "out")}

    def command(self) -> str:
        """The equivalent command line: every option that differs from its default, except --threads and --out."""
        return shlex.join(self.words())

    def words(self) -> list[str]:
        """The words of `command`."""
        words = ["minisqx", "train"]
        for name, value in asdict(self).items():
            option = name.replace("_", "-")
            if name in ("threads", "out") or value == getattr(TrainingOptions, name):
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


def _check(options: TrainingOptions) -> None:
    o = options
    require(
        o.image_size is None or is_whole(o.image_size, 1, 4096),
        "image size",
        o.image_size,
        "a side in pixels from 1 to 4096, such as 64",
    )
    require(isinstance(o.skip_bad_images, bool), "skip bad images", o.skip_bad_images, "True or False")
    require(o.groups is None or o.groups in GROUPINGS, "groups", o.groups, "one of " + ", ".join(GROUPINGS))
    require(is_whole(o.epochs, 1, MAX_EPOCHS), "epochs", o.epochs, f"a whole number from 1 to {MAX_EPOCHS}")
    require(is_whole(o.batch_size, 1, 65_536), "batch size", o.batch_size, "a whole number of images from 1 to 65536")
    require(is_number(o.lr) and o.lr > 0, "lr", o.lr, "a learning rate over 0, such as 0.1")
    require(is_number(o.momentum) and 0 <= o.momentum < 1, "momentum", o.momentum, "a number of at least 0 and below 1")
    require(isinstance(o.nesterov, bool), "nesterov", o.nesterov, "True or False")
    if o.nesterov and o.momentum == 0:
        raise OptionError("momentum 0 with nesterov: expected a momentum over 0, or --no-nesterov (nesterov=False)")
    require(
        is_number(o.weight_decay) and 0 <= o.weight_decay <= 1,
        "weight decay",
        o.weight_decay,
        "a number from 0 to 1, such as 1e-4",
    )
    require(o.schedule in SCHEDULES, "schedule", o.schedule, "one of " + ", ".join(SCHEDULES))
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
        steps = o.milestones
        rising = isinstance(steps, (tuple, list)) and all(is_whole(m, 1, 2**31) for m in steps)
        rising = rising and all(before < after for before, after in zip(steps, steps[1:]))
        require(rising, "milestones", steps, "increasing positive epochs, such as 60,120,150,180")


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
        if default is None:
            name = option[2:].replace("-", "_")
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
        help="continue a stopped run to its planned end; only --data and --threads may be given with it",
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
