"""Careful reading and whole writing, one-line errors, where things lie, and the device that works."""

from .files import InputError

__all__ = ["InputError"]
