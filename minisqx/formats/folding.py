"""Which step's output a place holds when it is read; and batch norm folded into the layers that read it."""

from dataclasses import dataclass, replace

import numpy as np

from minisqx.formats.program import Convolution, Place, Program, Step, Sum

INPUT = -1  # the number of the image, among those of the steps


@dataclass(frozen=True)
class Piece:
    """Channels first : first + count of the output of a step, or of the image."""

    step: int
    first: int
    count: int


def inputs_of(step: Step) -> tuple[Place, ...]:
    return (step.x, step.other) if isinstance(step, Sum) else (step.x,)


def pieces_of(program: Program) -> list[list[list[Piece]]]:
    """For each step, and at the end for the average: for each of its inputs, the pieces of outputs that it consists of.

    Steps share one memory, so a place holds what was written there last. A fire module's output is two pieces, and a bottleneck
    may read a part of the convolution that has its shortcut's channels, too.
    """
    height, width = program.network.input_size
    written = {INPUT: Place(0, 3, (height, width))}
    read: list[list[list[Piece]]] = []
    for number, step in enumerate(program.steps):
        read.append([_pieces(written, place) for place in inputs_of(step)])
        begin, end = _range(step.y)
        written = {n: place for n, place in written.items() if _range(place)[1] <= begin or end <= _range(place)[0]}
        written[number] = step.y
    return [*read, [_pieces(written, program.steps[-1].y)]]


def _range(place: Place) -> tuple[int, int]:
    return place.at, place.at + place.channels * place.size[0] * place.size[1]


def _pieces(written: dict[int, Place], place: Place) -> list[Piece]:
    pixels, (begin, end) = place.size[0] * place.size[1], _range(place)
    found = []
    for number, source in written.items():
        first, last = max(begin, _range(source)[0]), min(end, _range(source)[1])
        if first < last:
            found.append((first, Piece(number, (first - source.at) // pixels, (last - first) // pixels)))
    return [piece for _, piece in sorted(found, key=lambda each: each[0])]


def folded(program: Program) -> Program:
    """The program with each batch norm after an activation in the weights of its readers, where that is exact to rounding.

    It is where every reader is a convolution without padding, or the classifier: conv(a x + b) is a convolution of x with other
    weights and another bias. Padding is zeros beside a x + b, not beside x. Folded in float64, rounded once.
    """
    *reads, last = pieces_of(program)
    kept = set() if program.weight is not None else {piece.step for piece in last[0]}
    for step, inputs in zip(program.steps, reads):
        if not isinstance(step, Convolution) or any(step.pads):
            kept |= {piece.step for pieces in inputs for piece in pieces}
    norms: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for number, step in enumerate(program.steps):
        if isinstance(step, Convolution) and step.scale is not None and step.shift is not None and number not in kept:
            norms[number] = step.scale.astype(np.float64), step.shift.astype(np.float64)
    steps: list[Step] = []
    for number, (step, inputs) in enumerate(zip(program.steps, reads)):
        if isinstance(step, Convolution):
            weight, bias = _with_norms(step.weight, step.bias, inputs[0], norms)
            step = replace(step, weight=weight, bias=bias)
            if number in norms:
                step = replace(step, scale=None, shift=None)
        steps.append(step)
    if program.weight is None or program.bias is None:
        return replace(program, steps=tuple(steps))
    weight, bias = _with_norms(program.weight, program.bias, last[0], norms)
    return replace(program, steps=tuple(steps), weight=weight, bias=bias)


def _with_norms(
    weight: np.ndarray, bias: np.ndarray, pieces: list[Piece], norms: dict[int, tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """A weight (channels * taps, outputs) and its bias (outputs,), for an input whose pieces lack these norms."""
    if not any(piece.step in norms for piece in pieces):
        return weight, bias
    parts = [norms.get(piece.step, (np.ones(piece.first + piece.count), np.zeros(piece.first + piece.count))) for piece in pieces]
    scale, shift = (
        np.concatenate([part[which][piece.first : piece.first + piece.count] for part, piece in zip(parts, pieces)])
        for which in (0, 1)
    )
    exact = weight.astype(np.float64).reshape(len(scale), -1, weight.shape[1])
    new_bias = bias + np.einsum("c,ctm->m", shift, exact)
    return (exact * scale[:, None, None]).reshape(weight.shape).astype(np.float32), new_bias.astype(np.float32)
