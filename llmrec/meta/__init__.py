"""Learning to adapt: the inner loop and the outer loop, as in the paper."""
