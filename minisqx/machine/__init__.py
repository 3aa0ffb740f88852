"""The interface to the machine: threads, memory limits, folders and files, signals."""
