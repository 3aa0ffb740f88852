"""The tables of the paper, beside what is computed here."""
