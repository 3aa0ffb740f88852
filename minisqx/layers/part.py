"""What a network is put together from: parts that are nothing without it, and their names."""

from collections.abc import Iterator, MutableMapping
from typing import Any, NoReturn

from minisqx.errors import OptionError

_ANOTHER = "inference follows the network's description; make a network of another description instead"


class Part:
    """A part of one network, which holds views of that network's memory and calls that know where it is."""

    def __reduce_ex__(self, protocol):
        # A copy would read and write memory that belongs to no network.
        raise OptionError(
            f"a {type(self).__name__} can't be copied or pickled alone: copy the whole network, or a layer's values()"
        )

    def __repr__(self) -> str:
        name = getattr(self, "name", None) or getattr(getattr(self, "spec", None), "name", "")
        return f"{type(self).__name__}({name})"


class Layers(Part, MutableMapping):
    """A network's layers by name, to look at: which there are is said by its description alone."""

    def __init__(self, layers: dict):
        self._layers = layers

    def __getitem__(self, name: str) -> Any:
        return self._layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __setitem__(self, name: str, layer: object) -> NoReturn:
        raise OptionError(f"layers[{name!r}] can't be set: {_ANOTHER}")

    def __delitem__(self, name: str) -> NoReturn:
        raise OptionError(f"layers[{name!r}] can't be removed: {_ANOTHER}")

    def __repr__(self) -> str:
        return f"Layers({', '.join(self)})"
