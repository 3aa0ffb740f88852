"""`Augmentation`: how training images are changed at random, and its text, such as "crop,flip,rotate=10"."""

from dataclasses import dataclass, fields

from minisqx.checks import is_number, is_whole, require
from minisqx.errors import OptionError

NONE, AUTO = "none", "auto"
# A name without a number stands for this one.
USUAL: dict[str, int | float | bool] = {
    **{"crop": 4, "flip": True, "rotate": 10.0, "scale": 0.1},
    **{"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "erase": 0.5},
}
# Names that older runs have in their configuration.
OLDER = {"crop-flip": "crop,flip"}
EXAMPLE = "crop,flip,rotate=10,scale=0.1,brightness=0.2"


@dataclass(frozen=True)
class Augmentation:
    """Each number is the largest change; a change is drawn evenly from both directions, anew for each image and epoch. 0: none.

    crop: pixels by which an image is shifted, up, down and sideways; what comes into view is black.
    flip: whether half of the images are mirrored, left to right.
    rotate: degrees, below 180.
    scale: a share of the size, below 1.
    brightness, contrast, saturation: a share, up to 1, of pixels, of their distance from the image's mean grey, and of their
        distance from their own grey.
    erase: the probability that a rectangle of 2 to 33 % of the image is filled with the mean colour (Zhong et al., "Random
        Erasing Data Augmentation", 2017).

    Raises OptionError for other values.
    """

    crop: int = 0
    flip: bool = False
    rotate: float = 0.0
    scale: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    erase: float = 0.0

    def __post_init__(self) -> None:
        require(is_whole(self.crop, 0, 4096), "crop", self.crop, "a whole number of pixels from 0 to 4096, such as 4")
        require(isinstance(self.flip, bool), "flip", self.flip, "True or False")
        for name, limit, example in (("rotate", 180, 10), ("scale", 1, 0.1)):
            value = getattr(self, name)
            require(is_number(value) and 0 <= value < limit, name, value, f"a number from 0 and below {limit}, such as {example}")
        for name in ("brightness", "contrast", "saturation", "erase"):
            value = getattr(self, name)
            require(is_number(value) and 0 <= value <= 1, name, value, "a number from 0 to 1, such as 0.2")

    @classmethod
    def parse(cls, text: str) -> "Augmentation":
        """The augmentation that `text` lists, names with or without a number, or "none". Raises OptionError for any other text.

        "auto" is every augmentation that suits any photograph: all but flips, which turn a sign, a letter or a left hand into
        another one, and erasing.
        """
        require(isinstance(text, str), "augment", text, f"a list such as {EXAMPLE}, {AUTO} or {NONE}")
        if text == NONE:
            return cls()
        if text == AUTO:
            return cls(**{name: value for name, value in USUAL.items() if name not in ("flip", "erase")})  # type: ignore[arg-type]
        found: dict[str, int | float | bool] = {}
        for part in OLDER.get(text, text).split(","):
            name, given, number = part.strip().partition("=")
            if name not in USUAL or name in found or (name == "flip" and given):
                names = ", ".join(USUAL)
                raise OptionError(f"augment {text!r}: expected {NONE}, {AUTO}, or some of {names}, each once, as in {EXAMPLE}")
            found[name] = _number(text, part, type(USUAL[name]), number) if given else USUAL[name]
        return cls(**found)  # type: ignore[arg-type]

    def __str__(self) -> str:
        """The text from which `parse` makes an equal one."""
        chosen = {field.name: getattr(self, field.name) for field in fields(self) if getattr(self, field.name)}
        # All digits of a number: a run that is resumed reads it from this text.
        numbers = {name: repr(value).removesuffix(".0") for name, value in chosen.items()}
        return ",".join(name if value == USUAL[name] else f"{name}={numbers[name]}" for name, value in chosen.items()) or NONE

    @property
    def distorts(self) -> bool:
        """Whether it does more than shift and mirror images."""
        return any((self.rotate, self.scale, self.brightness, self.contrast, self.saturation, self.erase))


def _number(text: str, part: str, type_: type, number: str) -> int | float:
    try:
        return int(number) if type_ is int else float(number)
    except ValueError:
        raise OptionError(f"augment {text!r}: {part.strip()!r} has no number; expected one such as {EXAMPLE}") from None
