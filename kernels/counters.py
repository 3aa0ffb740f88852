"""Random numbers as a function of counters: seed, purpose, epoch or step, index.

A draw depends on nothing but its counters, so the order of calls, the number of threads and a resume change nothing.

Source: the output function and the increment of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014; constants of S. Vigna's public-domain version). Draw number i of a stream is `mix(key + i * GOLDEN)`.
"""

import numpy as np

from minisqx.kernels.compiler.jit import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))

# What a stream is for: the second counter of its key, so that equal seeds don't give equal draws.
SHUFFLE, AUGMENTATION, VALIDATION, DROPOUT, DISTORTION = 1, 2, 3, 4, 5


@njit
def mix(state):
    """SplitMix64's output for the counter `state`, both uint64: a bijection whose every bit depends on every bit."""
    state = (state ^ (state >> _SHIFTS[0])) * _FIRST
    state = (state ^ (state >> _SHIFTS[1])) * _SECOND
    return state ^ (state >> _SHIFTS[2])


@njit
def draw(key, index):
    """Draw number `index` (any integer) of the stream `key` (uint64), as uint64."""
    return mix(key + np.uint64(index) * GOLDEN)


@njit
def draws(key, count):
    """The first `count` draws of the stream `key`, uint64 (count,)."""
    out = np.empty(count, np.uint64)
    for index in range(count):
        out[index] = draw(key, index)
    return out


def stream(*counters: int) -> np.uint64:
    """The key of a stream: one counter after the other, in this order, mixed in. Integers, taken modulo 2**64."""
    mask, key = 0xFFFFFFFFFFFFFFFF, 0
    for counter in counters:
        key = int(mix(np.uint64((key + (counter + 1) * int(GOLDEN)) & mask)))
    return np.uint64(key)


def permutation(key: np.uint64, count: int) -> np.ndarray:
    """A random order of 0 .. count - 1, int64 (count,): the indices sorted by their draws."""
    return np.argsort(draws(key, count), kind="stable")
