"""Fit, recommend, observe, save: the parts put together."""
