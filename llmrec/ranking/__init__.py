"""The ranking stage: candidates are scored by the adapted transformer and by features that a dot product cannot express."""
