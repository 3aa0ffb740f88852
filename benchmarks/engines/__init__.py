"""Inference engines behind one interface, each at its best settings; `inference` and `calls` let them compete.

An engine's module is imported only in the process that runs it, and its package inside its methods: a missing package keeps away
that engine alone.
"""
