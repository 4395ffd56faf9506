"""Operators in time: steps along the time series of one run."""
