"""Benchmarks: protocols, tuned and neural controls, and how both and the recommender are measured."""
