"""TALLRec's rows of MovieLens-100K, answered by a small language model: a smoke test, for 16 users are asked."""
