"""Meta-learning: the inner loop, the outer loop and the gate."""
