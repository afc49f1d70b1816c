"""The recommender: fit, recommend, observe, save."""
