"""How kernels are compiled, kept on disk and run one at a time. Second reading: no kernel's meaning is in here."""
