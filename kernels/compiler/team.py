"""The threads that run a table of steps together, until all are done.

There is no barrier: a ticket has the number of the step that is being done, and of its next piece. Each thread takes a piece
and computes it. The thread that completes a step begins the next one. So a thread that the system has interrupted delays the
others by the piece that it holds, and not at all if it holds none.

A thread without a piece watches the ticket for some time, and then sleeps for moments, so that other programs get its core.
"""

import ctypes
import os
import platform

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from minisqx.kernels.compiler import alone
from minisqx.kernels.compiler.jit import njit

# How often a thread looks at the ticket before it sleeps: for about 0.1 ms, longer than most steps last.
LOOKS = 5_000
# Whether there is the instruction by which a waiting thread leaves its core to the core's other hardware thread.
_HAS_PAUSE = platform.machine() in ("x86_64", "AMD64")
PIECE_BITS = 32  # of a ticket; the bits above are the step's number
PIECE = (1 << PIECE_BITS) - 1
# Places in the state, which has a cache line for each of its numbers.
TICKET, DONE = 8, 16
_STATE = 24

_INDEX = ir.IntType(64)


@intrinsic
def _load(typing_context, state, place):
    """state[place], as other threads have left it."""

    def generate(context, builder, signature, arguments):
        return builder.load_atomic(_element(context, builder, signature, arguments), "acquire", 8)

    return types.int64(state, types.int64), generate


@intrinsic
def _store(typing_context, state, place, value):
    """state[place] = value; a thread that sees it also sees everything that was written before."""

    def generate(context, builder, signature, arguments):
        builder.store_atomic(arguments[2], _element(context, builder, signature, arguments), "release", 8)
        return context.get_dummy_value()

    return types.void(state, types.int64, types.int64), generate


@intrinsic
def _take(typing_context, state, place):
    """Returns state[place], and adds 1 to it; no two threads get the same."""

    def generate(context, builder, signature, arguments):
        element = _element(context, builder, signature, arguments)
        return builder.atomic_rmw("add", element, ir.Constant(_INDEX, 1), "acq_rel")

    return types.int64(state, types.int64), generate


def _element(context, builder, signature, arguments):
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.gep(array.data, [arguments[1]])


@intrinsic
def _call(typing_context, code, words, piece, thread):
    """Calls the C function of a stage (`c_function.compile_stage`) at the address `code`."""

    def generate(context, builder, signature, arguments):
        code, words, *numbers = arguments
        address = builder.inttoptr(words, _INDEX.as_pointer())
        function = ir.FunctionType(ir.VoidType(), [address.type, _INDEX, _INDEX])
        builder.call(builder.inttoptr(code, function.as_pointer()), [address, *numbers])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


@intrinsic
def _relax(typing_context):
    """Waits for some 20 ns, where the CPU has an instruction for that."""

    def generate(context, builder, signature, arguments):
        if _HAS_PAUSE:
            function = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _sleep(typing_context, code, duration):
    """Calls the C function of the system at the address `code`, which sleeps."""

    def generate(context, builder, signature, arguments):
        number = ir.IntType(32)
        function = ir.FunctionType(number, [number])
        builder.call(builder.inttoptr(arguments[0], function.as_pointer()), [builder.trunc(arguments[1], number)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@njit
def _work(table, state, thread, sleep, duration):
    """One thread's share of a table (steps, 4) of `Step`."""
    looks = 0
    while True:
        ticket = _load(state, TICKET)
        if ticket >> PIECE_BITS >= table.shape[0]:
            return
        # Tickets are taken only where there are pieces: their number must not grow while a thread waits.
        if ticket & PIECE >= table[ticket >> PIECE_BITS, 3]:
            looks += 1
            if looks < LOOKS:
                _relax()
            else:
                _sleep(sleep, duration)
            continue
        ticket = _take(state, TICKET)
        step, piece = ticket >> PIECE_BITS, ticket & PIECE
        if step >= table.shape[0] or piece >= table[step, 3]:
            continue
        looks = 0
        _call(table[step, 0], table[step, 1], table[step, 2] + piece, thread)
        if _take(state, DONE) + 1 < table[step, 3]:
            continue
        # This was the step's last piece. Steps of one piece that follow are not worth handing on.
        step += 1
        while step < table.shape[0] and table[step, 3] == 1:
            _call(table[step, 0], table[step, 1], table[step, 2], thread)
            step += 1
        _store(state, DONE, 0)
        _store(state, TICKET, step << PIECE_BITS)


@njit(parallel=True)
def work_together(table, state, threads, sleep, duration):
    """threads: their number. (Numba's function for it has an address of this process, so the kernel could not be kept.)"""
    for thread in prange(threads):
        _work(table, state, np.int64(thread), sleep, duration)


def _sleep_function() -> tuple[int, int]:
    """The address of a C function that sleeps, and its argument for some 50 us, or the least that there is."""
    if os.name == "nt":
        return ctypes.cast(ctypes.WinDLL("kernel32").Sleep, ctypes.c_void_p).value or 0, 1  # type: ignore[attr-defined]
    return ctypes.cast(ctypes.CDLL(None).usleep, ctypes.c_void_p).value or 0, 50


_SLEEP = _sleep_function()


def run(table: np.ndarray) -> None:
    """Runs a table (steps, 4) of `tasks.Step` on all threads. Raises TrainingError where `alone.run_alone` does."""
    work_together(table, np.zeros(_STATE, np.int64), alone.chosen_threads(), *_SLEEP)
