"""Hand-written Numba kernels: arrays in, arrays out. They know no layer, no file and no command line.

A kernel checks nothing; its callers pass arrays that were checked. `layout` says how activations lie in memory,
`simd` how vectors are written, `jit` how everything is compiled and kept.
"""

from minisqx.threads import use_threads

# Numba fixes its largest number of threads when it is first imported, which is what the next module here does.
use_threads()
