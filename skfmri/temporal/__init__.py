"""Operators in time: what is done along the time series of one run."""
