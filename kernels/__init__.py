"""Hand-written Numba kernels: arrays in, arrays out. They know no layer, no file and no command line.

A kernel checks nothing; its callers pass arrays that were checked. Each file here is one operation, forward and backward, with
`structures`, `layout` and `blocks` for what they share. `tiles` has the innermost loops as vector code, `compiler` what compiles
and keeps everything: both are for a second reading.
"""

from minisqx.machine.threads import use_threads

# Numba fixes its largest number of threads when it is imported, which some module here may do next.
use_threads()
