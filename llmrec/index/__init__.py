"""FAISS and candidates: what is near, what is bought together, what is bought again, what everyone buys."""
