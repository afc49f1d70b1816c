"""FAISS and candidates: nearest items, co-purchases, repeat purchases and popular items."""
