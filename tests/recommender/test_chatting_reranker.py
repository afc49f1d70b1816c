"""A language model's ranker that asks in turns of a chat is saved with its chat template."""

from __future__ import annotations

import pytest
from language_models import write_tiny

from llmrec.errors import ArtefactError
from llmrec.language.model import LanguageModel, load_language_model
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.recommender.saved_reranker import is_saved, loaded_ranker, saved_ranker


@pytest.fixture
def folder(tiny_folders, tmp_path):
    return write_tiny("llama", tiny_folders["llama"], tmp_path)


def chatting(folder, end: str) -> LanguageModel:
    found = load_language_model(folder)
    found.tokenizer.add_special_tokens({"additional_special_tokens": ["<end>", "<model>"]})
    found.tokenizer.chat_template = "{% for one in messages %}{{ one['content'] }}" + end + "{% endfor %}"
    return found


def test_another_chat_template_is_another_ranker(folder):
    mine, other = (LLMRanker(chatting(folder, end), chat=True) for end in ("<end>", "<end><model>"))
    saved, plain = saved_ranker(mine), LLMRanker(chatting(folder, "<end>"))
    assert is_saved(saved, LLMRanker(chatting(folder, "<end>"), chat=True))
    assert not is_saved(saved, other) and not is_saved(saved, plain) and not is_saved(saved_ranker(plain), mine)
    assert loaded_ranker(saved, folder, "cpu", mine) is mine
    with pytest.raises(ArtefactError, match="expected the chat template that it was fitted with, tokens .* or fit again"):
        loaded_ranker(saved, folder, "cpu", other)
    with pytest.raises(ArtefactError, match="expected chat True, got False; pass LLMRanker"):
        loaded_ranker(saved, folder, "cpu", plain)
