"""Hand-written Numba kernels: arrays in, arrays out. They know no layer, no file and no command line.

A kernel checks nothing; its callers pass arrays that were checked. `layout` says how activations lie in memory,
`simd` how vectors are written, `jit` how everything is compiled and kept.
"""
