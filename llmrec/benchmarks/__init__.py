"""Benchmarks: data sets with their protocols, what is measured on them, and the neural control to compare with."""
