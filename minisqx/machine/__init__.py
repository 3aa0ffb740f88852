"""What the machine gives: threads, memory, folders, signals."""
