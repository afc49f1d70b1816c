"""Prompts: templates as files with a front matter, rendered in a sandbox; titles of items in them stay data."""

from __future__ import annotations

from llmrec.prompts.attacks import attacks
from llmrec.prompts.chat import chat_text
from llmrec.prompts.files import load_template, packaged_templates
from llmrec.prompts.header import Header
from llmrec.prompts.template import Template, history_words

__all__ = ["Header", "Template", "attacks", "chat_text", "history_words", "load_template", "packaged_templates"]
