"""Stress tests, one command each: `python -m tests.stress.NAME`; see docs/reliability.md."""
