"""Hand-written Numba kernels: arrays in, arrays out. They know nothing of layers, files and the command line.

Kernels check nothing; callers pass valid arrays. Each file here is one operation, forward and backward; `structures`, `layout`
and `blocks` have what they share. `tiles` generates the innermost loops as vector code, and `compiler` compiles and caches
everything: both are for a second reading.
"""

from minisqx.machine.threads import use_threads

# Numba fixes its maximum number of threads when it is first imported, which other modules here do when they compile.
use_threads()
