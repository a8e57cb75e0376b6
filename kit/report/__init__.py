"""A run's outputs, the board of all runs, and its page."""

from .run import GATES, Run

__all__ = ["GATES", "Run"]
