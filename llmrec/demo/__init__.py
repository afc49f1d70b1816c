"""The demonstration: the main task on real data in one command, with its baselines."""
