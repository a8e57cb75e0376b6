"""A run's outputs, the board of all runs, and its page."""
