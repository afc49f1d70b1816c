"""A fitted recommender beside controls on held-out users: comparison, report, figure and model card."""
