"""The part of the public `Recommender` that saves it: to a folder, and to the Hugging Face hub."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from pathlib import Path

from llmrec.errors import MissingHistoriesWarning
from llmrec.hub import push
from llmrec.manifest import peek
from llmrec.recommender.kept_scenes import keep_scenes, warn_if_scenes_go
from llmrec.recommender.saved_reranker import warn_if_own
from llmrec.recommender.saving import save_state
from llmrec.recommender.state import State
from llmrec.store import located


def warn_if_users_go(folder: str | Path, histories: bool) -> None:
    """A MissingHistoriesWarning, at the line that called the caller, where a save with histories is replaced by one without."""
    there = peek(located(folder)).get("meta")
    if not histories and isinstance(there, dict) and there.get("histories"):
        warnings.warn(
            f"{folder}: the older save holds users' events, and the new one replaces it without them: users asked by id are "
            "not known after loading; save with histories=True, or to another path",
            MissingHistoriesWarning,
            stacklevel=3,
        )


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
            Users are then unknown by id after loading; item popularity, including events observed since `fit`, is
            saved anyway, as counts over all users. A MissingHistoriesWarning says that an older save at `folder` has
            users' events, which are then lost. Texts beside an older save, such as README.md, stay.
        Known scenes in an older save at `folder` (`Scenes.save_pretrained`) stay if they were learned with this recommender;
        otherwise a MissingScenesWarning is raised.
        Other processes may load from the folder and save to it at the same time: each load gets a whole save, old or new, and
        the last save wins.
        For an `LLMRanker`, path and hash of the weights are saved, not the weights. An IgnoredInputWarning names a ranker of
        another kind; pass it again to `from_pretrained`. Raises ArtefactError if `folder` holds something other than
        a recommender.
        """
        warn_if_own(self.state.own_ranker)
        warn_if_users_go(folder, histories)
        state = self.state
        warn_if_scenes_go(folder, state)
        save_state(Path(folder), state, histories, lambda to: keep_scenes(folder, state, to))
        self._folder = located(folder)

    def push_to_hub(
        self,
        repo_id: str,
        histories: bool = False,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
    ) -> str:
        """Save as `save_pretrained` does, to a repository on the Hugging Face hub such as "name/shop", created if needed.

        README.md and other texts in the folder that it was last saved to or loaded from are pushed too, known scenes are not,
        histories only on request. private, token, revision and errors: see `llmrec.hub.push`. Returns the address of the
        commit.
        """
        state, folder = self.state, self._folder
        warn_if_own(state.own_ranker)
        return push(lambda to: save_state(to, state, histories), repo_id, folder, private, token, revision)
