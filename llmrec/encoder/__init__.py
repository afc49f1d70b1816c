"""Transformers: a pretrained one turns item text into a vector, it or a small one a prompt of item slots into a user vector."""
