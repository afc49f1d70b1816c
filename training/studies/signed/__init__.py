"""Likes and dislikes of new users on MovieLens-1M: weights under a learned prior, beside controls."""
