"""Causal language models: loaded by name, folder or GGUF file, and read in prompts whose candidates share a prefix."""
