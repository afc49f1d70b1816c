"""A language model in a category that it was not trained on: see `training/category_study.py`."""
