"""The part of the public `Recommender` that saves it: to a folder, and to the Hugging Face hub."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

from llmrec.hub import push
from llmrec.recommender.saved_reranker import warn_if_own
from llmrec.recommender.saving import save_state
from llmrec.recommender.state import State
from llmrec.store import located


class Shared:
    """Saving: `from_pretrained` reads back what these write."""

    _folder: Path | None = None  # where it was last saved or loaded, for the texts beside it

    @property
    @abstractmethod
    def state(self) -> State:
        """What is known now."""

    def save_pretrained(self, folder: str | Path, histories: bool = False) -> None:
        """Save everything needed to recommend, atomically and with a hash of every file.

        histories: also save the users' events. False keeps them private; the model serves new users without them.
            Users asked by id are then not known after loading; how popular items are, also by events observed since `fit`, is
            saved all the same, as counts over all users. Texts beside an older save, such as README.md, stay.
        Of an `LLMRanker` place and hash of the weights are saved, not the weights. An IgnoredInputWarning names a ranker of
        another kind, which is passed again to `from_pretrained`.
        """
        warn_if_own(self.state.own_ranker)
        save_state(Path(folder), self.state, histories)
        self._folder = located(folder)

    def push_to_hub(
        self,
        repo_id: str,
        histories: bool = False,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
    ) -> str:
        """Save as `save_pretrained` does, to a repository on the Hugging Face hub such as "name/shop", made if need be.

        README.md and other texts beside the folder that it was last saved to or loaded from go along; histories only if asked
        for. private, token, revision and errors: see `llmrec.hub.push`. Returns the address of the commit.
        """
        state, folder = self.state, self._folder
        warn_if_own(state.own_ranker)
        return push(lambda to: save_state(to, state, histories), repo_id, folder, private, token, revision)
