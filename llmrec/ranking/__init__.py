"""The ranking stage: candidates scored by the adapted transformer and by what a dot product does not see."""
