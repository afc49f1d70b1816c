"""Ratings of new users and new films, on the split of MeLU."""
