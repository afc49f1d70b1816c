"""Likes and dislikes: a user's weights on features of items, under a Gaussian prior, adapted to signed labels in closed form;
`SignedFeedback` says which events are signed."""

from llmrec.signed.labels import SignedFeedback

__all__ = ["SignedFeedback"]
