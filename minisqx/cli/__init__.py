"""The command line."""

from minisqx.cli.commands import main as main
