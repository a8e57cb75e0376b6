"""The default forecast, its intervals, why a prediction is as it is, and what to measure next."""
