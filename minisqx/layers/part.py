"""`NetworkPart`, the base class of everything that belongs to one network, and `Layers`, the mapping of its layers."""

from collections.abc import Iterator, MutableMapping
from typing import Any, NoReturn

from minisqx.errors import OptionError

_OTHER_SPEC = "inference follows the network's spec; make a network from another spec instead"


class NetworkPart:
    """Part of one network: it holds views of the network's memory and kernel calls that point into it, so it can't be copied."""

    def __reduce_ex__(self, protocol):
        # A copy would read and write memory that no network uses.
        raise OptionError(
            f"a {type(self).__name__} can't be copied or pickled alone: copy the whole network, or the result of values()"
        )

    def __repr__(self) -> str:
        name = getattr(self, "name", None) or getattr(getattr(self, "spec", None), "name", "")
        return f"{type(self).__name__}({name})"


class Layers(NetworkPart, MutableMapping):
    """The layers of a network by name, read-only: the network's spec determines them."""

    def __init__(self, layers: dict):
        self._layers = layers

    def __getitem__(self, name: str) -> Any:
        return self._layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __setitem__(self, name: str, layer: object) -> NoReturn:
        raise OptionError(f"layers[{name!r}] can't be set: {_OTHER_SPEC}")

    def __delitem__(self, name: str) -> NoReturn:
        raise OptionError(f"layers[{name!r}] can't be removed: {_OTHER_SPEC}")

    def __repr__(self) -> str:
        return f"Layers({', '.join(self)})"
