"""Typed errors. Each message names the field or file, what was expected, what came, and the remedy."""


class LlmrecError(Exception):
    """Base of every error that this library raises on purpose."""


class SchemaError(LlmrecError, ValueError):
    """A table lacks a column, or a column has the wrong type or meaning."""


class DataError(LlmrecError, ValueError):
    """Values that cannot be used: empty tables, duplicated catalogue ids, timestamps that do not parse."""


class ShortHistoriesError(DataError):
    """No user has as many baskets as training needs."""


class UnknownItemError(LlmrecError, KeyError):
    """An item id that the catalogue does not hold."""

    def __str__(self) -> str:  # KeyError would quote the message
        return str(self.args[0]) if self.args else ""


class TemplateError(LlmrecError, ValueError):
    """A prompt template that is missing or malformed, names a variable without a value, or is not the one that a recommender
    was fitted with."""


class WeightsError(LlmrecError, OSError):
    """Model weights that are missing, or not the expected ones."""


class ArtefactError(LlmrecError, OSError):
    """A saved folder that is missing, incomplete, changed since it was written, or of another kind."""


class AdapterError(LlmrecError, ValueError):
    """An adapter that does not belong to this base, or whose files are invalid."""


class MissingExtraError(LlmrecError, ImportError):
    """An optional package is missing or too old; the message says which extra brings it."""


class ForkError(LlmrecError, RuntimeError):
    """A forked process uses a model after its parent computed with one: the threads of torch and faiss do not survive a
    fork."""


class ShortAnswerWarning(UserWarning):
    """Fewer than k items could be recommended; the message says to whom and why."""


class TrainedUsersWarning(UserWarning):
    """Some users of an evaluation were training users; the message says how many."""


class MissingHistoriesWarning(UserWarning):
    """Users asked for by id have no history here, because the folder was saved without histories; or a save without histories
    replaces one that has them."""


class MissingScenesWarning(UserWarning):
    """A saved recommender replaces an older save without the known scenes that are in it; the message says why."""


class DataLossWarning(UserWarning):
    """Much of a table was left out in cleaning; the message names the step, the share of the rows and examples."""


class IgnoredInputWarning(UserWarning):
    """Some input has no effect, such as a value that was not learned or a part of the rules; the message names it, and the
    reason or the expected values."""


class FewWindowsWarning(UserWarning):
    """A known scene has too few calibration windows for a test; the message says how many are needed."""
