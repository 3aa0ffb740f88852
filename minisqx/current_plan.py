"""The plan of a network whose numbers may change at any time: kept, and made again when one of them has changed."""

from typing import NamedTuple

import numpy as np

from minisqx.flat import Sections, cut
from minisqx.plan import Plan
from minisqx.spec import NetworkSpec


class _Frozen(NamedTuple):
    """A plan, and the bytes of the parameters and buffers that it was made from."""

    plan: Plan
    parameters: bytearray
    buffers: bytearray


class CurrentPlan:
    """Keeps the plan of one network. Several threads may call `of` at once.

    sections: of the flat parameters and of the flat buffers. Nobody reports a change, since the views belong to the user, so
    each call compares every bit: a NaN is equal to itself, and -0.0 is not 0.0.
    """

    def __init__(self, spec: NetworkSpec, sections: tuple[Sections, Sections]):
        self._spec, self._sections = spec, sections
        self._frozen: _Frozen | None = None

    def of(self, parameters: np.ndarray, buffers: np.ndarray) -> Plan:
        """The plan for these flat arrays as they are now; a number that another thread is writing counts as old or new."""
        frozen = self._frozen  # read once: another thread may replace it
        # A bytearray is compared with an array byte by byte (memcmp), without a copy.
        if frozen is None or frozen.parameters != parameters or frozen.buffers != buffers:
            frozen = self._frozen = self._freeze(parameters, buffers)
        return frozen.plan

    def _freeze(self, parameters: np.ndarray, buffers: np.ndarray) -> _Frozen:
        # The plan is made from the copies: with numbers that were written after copying, it would pass for the plan of others.
        copies = bytearray(parameters.data), bytearray(buffers.data)
        state: dict[str, np.ndarray] = {}
        for copy, sections in zip(copies, self._sections):
            state |= cut(np.frombuffer(copy, parameters.dtype), sections)[0]
        return _Frozen(Plan(self._spec, state), *copies)
