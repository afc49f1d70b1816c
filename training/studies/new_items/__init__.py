"""Cold items after their first purchases: text, counts, and item vectors moved by the buyers."""
