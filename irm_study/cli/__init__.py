"""The command line."""

from irm_study.cli.entry import main

__all__ = ["main"]
