"""Networks by name: those of the paper, and any other Shallow SqueezeNext by its `NetworkSpec.name`."""

import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any

from minisqx.errors import OptionError
from minisqx.spec import NetworkSpec
from minisqx.spec.squeezenet import SqueezeNetSpec
from minisqx.spec.squeezenext import BASELINE, SHALLOW_NETWORKS, VERSIONS, SqueezeNextSpec

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

SHALLOW = "shallow"  # any Shallow SqueezeNext, by its options: width, blocks, ...
DEFAULT = "shallow-14-0.5x"  # its weights are shipped with minisqx

# Name -> (family, options). Within a family, smaller networks come first.
_NETWORKS: dict[str, tuple[type[NetworkSpec], dict]] = {
    **{name: (SqueezeNextSpec, {"width": width, "blocks": blocks}) for name, (width, blocks) in SHALLOW_NETWORKS.items()},
    **{f"squeezenet-v{version}": (SqueezeNetSpec, {"version": version}) for version in ("1.1", "1.0")},
    **{
        f"squeezenext-23-{width}x-{version}": (SqueezeNextSpec, {"width": float(width), "blocks": blocks, **BASELINE})
        for width in (1, 2)
        for version, blocks in VERSIONS.items()
    },
}
_FAMILIES = {family.FAMILY: family for family, _ in _NETWORKS.values()}


def names() -> list[str]:
    """The names of the networks in the paper."""
    return list(_NETWORKS)


def is_name(name: str) -> bool:
    """Whether `network` accepts the name."""
    try:
        _find(name)
    except OptionError:
        return False
    return True


def network(name: str, **options) -> NetworkSpec:
    """The description of a named network. `options` override those of the name, or the defaults of "shallow".

    Raises OptionError for an unknown name, an option that the family doesn't have, or an invalid value.
    """
    family, own = _find(name)
    known = family.__dataclass_fields__
    for option in options:
        if option not in known:
            raise OptionError(f"{option} {options[option]!r} with {name}: that network has no such option; leave it out")
    return family(**{**own, **options})


def _find(name: str) -> tuple[type[NetworkSpec], dict]:
    given = name if isinstance(name, str) else ""
    if given == SHALLOW:
        return SqueezeNextSpec, {}
    if given in _NETWORKS:
        return _NETWORKS[given]
    # The name of a network that is not in the paper, or of one that is, with its blocks: shallow-14-1281-0.5x.
    parts = re.fullmatch(r"shallow-(\d\d+)(?:-(\d{4,12}))?-(\d+(?:\.\d+)?)x", given)
    if parts:
        found = [blocks for blocks in _splits(parts[2] or "1111") if sum(blocks) + 2 == int(parts[1])]
        if len(found) == 1:
            return SqueezeNextSpec, {"width": float(parts[3]), "blocks": found[0]}
    raise OptionError(f"model {name!r}: expected {SHALLOW} (with --width and --blocks) or one of {', '.join(_NETWORKS)}")


def _splits(digits: str) -> Iterator[tuple[int, ...]]:
    """All splits of a string of digits into four positive integers without leading zeros."""
    for places in combinations(range(1, len(digits)), 3):
        parts = [digits[start:end] for start, end in zip((0, *places), (*places, len(digits)))]
        if not any(part.startswith("0") for part in parts):
            yield tuple(map(int, parts))


def weights() -> dict[str, "Traversable"]:
    """Name -> checkpoint of the shipped weights: a file, or a member of the zip file that minisqx is imported from."""
    from importlib.resources import files

    folder = files("minisqx.data") / "weights"
    if not folder.is_dir():
        return {}
    return {file.name.removesuffix(".h5"): file for file in folder.iterdir() if file.name.endswith(".h5")}


def from_dict(description: Mapping) -> NetworkSpec:
    """The inverse of `NetworkSpec.to_dict`. Raises OptionError for unknown or missing entries and invalid values."""
    options = _upgraded(dict(description))
    given = options.pop("family")
    family = _FAMILIES.get(given) if isinstance(given, str) else None
    if family is None:
        raise OptionError(f"network family {given!r}: expected one of {', '.join(_FAMILIES)}")
    expected = set(family.__dataclass_fields__)
    if set(options) != expected:
        raise OptionError(f"network description has the entries {sorted(options)}, expected {sorted(expected)}")
    for name, value in options.items():
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, (str, int, float)) for item in items):
            raise OptionError(
                f"network description with a {type(value).__name__} for {name}: expected text, numbers, or a list of them"
            )
    entries: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    return family(**entries)


def _upgraded(options: dict) -> dict:
    """Converts a description written before there was a second family to today's entries."""
    if "family" not in options:
        options |= {"family": SqueezeNextSpec.FAMILY, "activation": "elu"}
        order = options.get("block_order")
        if isinstance(order, str):
            options["block_order"] = order.replace("-elu", "-act")
    return options
