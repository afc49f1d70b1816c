"""Sentences of explanations: one line of a template for each kind of reason, with the titles of items in it."""

from __future__ import annotations

from pathlib import Path

from llmrec.data.dataset import Catalogue
from llmrec.errors import TemplateError
from llmrec.prompts import Template, load_template

LONGEST = 80  # letters of a title
KINDS = (
    "again",  # the item itself is in the history
    "cooccurrence",  # a past item raises it, mostly by what others had with that
    "text",  # a past item raises it, mostly by their texts
    "sequence",  # a past item raises it, mostly by how the transformer reads the history
    "other",  # a past item raises it in another way
    "overall",  # no past item raises it alone
    "group",  # it is popular among users with the same attributes
    "popular",
    "nothing",  # it is no better than the user's other candidates
)


def load_sentences(name: str | Path) -> Template:
    """A template of explanations, packaged or a file.

    It has a sentence for each of KINDS, in `{% if cooccurrence %}`: an optional variable, which is then the title of the past
    item, or of the item itself where no past item is named. `item` is always the title of the item; without one the id stands
    for it.
    Raises TemplateError for a template that cannot be read, and for variables that an explanation does not have.
    """
    template = load_template(name)
    known = (*KINDS, "item")
    if wrong := [one for one in template.header.variables if one not in known]:
        raise TemplateError(f"{template.source}: expected variables out of {', '.join(known)}, got {', '.join(wrong)}")
    if wrong := [one for one in template.header.required if one != "item"]:
        raise TemplateError(
            f"{template.source}: only item is in every explanation; write {', '.join(wrong)} under `optional` in the "
            "front matter"
        )
    return template


def sentence(template: Template, catalogue: Catalogue, kind: str, item: int, past: int) -> str:
    """The sentence for an internal item index. kind: of KINDS. past: the past item that raises it, -1 for none."""
    values = {"item": titled(catalogue, item), kind: titled(catalogue, item if past < 0 else past)}
    return template.render(values).replace("\n", " ")


def titled(catalogue: Catalogue, item: int) -> str:
    """The title of an item in at most LONGEST letters, or its id."""
    title = str(catalogue.table.column("title")[item].as_py() or "").strip() or str(catalogue.ids[item])
    return title if len(title) <= LONGEST else title[: LONGEST - 1].rstrip() + "…"
