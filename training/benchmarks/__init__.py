"""Benchmarks: protocols, tuned and neural controls, our method, and how both are measured."""
