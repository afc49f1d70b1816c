"""Tables in, cleaning, Dataset, splits, tasks."""
