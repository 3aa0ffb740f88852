"""Compiles kernels, caches them on disk, and runs parallel ones one at a time. For a second reading: it defines no kernel."""
