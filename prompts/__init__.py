"""Prompt templates, shipped in the wheel as `llmrec.prompt_files`."""
