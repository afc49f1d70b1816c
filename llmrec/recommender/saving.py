"""Save and load a state: safetensors, Arrow and JSON under one manifest of hashes; the adapter in PEFT's format.

body/                 the causal transformer, as Hugging Face saves it
adapter/              LoRA's initialisation (U = 1), which peft.PeftModel.from_pretrained loads over body/; if there is one
arrays.safetensors    all other numbers
items.arrow, *.json   catalogue, ids, settings; words.json where texts came or changed since `fit`
histories/            only when asked for; attributes of users, too
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from scipy import sparse

from llmrec.adapters.peft_format import load_adapter, save_adapter
from llmrec.data.attributes import Attributes, Encoding
from llmrec.data.dataset import Catalogue, Dataset, EventWeights, empty_dataset
from llmrec.data.ids import Ids
from llmrec.data.known import KnownUsers
from llmrec.data.user_tables import UserTable, no_users
from llmrec.encoder.backbone import load_body, save_model
from llmrec.encoder.model import SlotModel
from llmrec.encoder.weights import Weights
from llmrec.errors import ArtefactError, DataError
from llmrec.index.tuning import Tuned
from llmrec.layouts import Saved, check_layout, migrated
from llmrec.meta.gate import from_dict
from llmrec.meta.inner import Initialisation
from llmrec.meta.user_core import UserCore
from llmrec.models.item_item import Markov
from llmrec.models.text_match import Vocabulary
from llmrec.ranking.first_buyers import ColdWeights, from_arrays, to_arrays
from llmrec.ranking.groups import Groups
from llmrec.ranking.ranker import Ranker
from llmrec.ranking.rankers import CandidateRanker
from llmrec.ranking.statistics import ItemStatistics
from llmrec.ranking.text_cca import Flow
from llmrec.ranking.two_stage import Rankers
from llmrec.ranking.vector_prior import VectorPrior
from llmrec.recommender.pipeline import check_settings, frozen_items, new_retrieval
from llmrec.recommender.saved_layouts import LAYOUT, MIGRATIONS
from llmrec.recommender.saved_reranker import loaded_reranker, save_adapter_of, saved_reranker
from llmrec.recommender.settings import Settings
from llmrec.recommender.settings_file import filled
from llmrec.recommender.shop_format import loaded_format, saved_format
from llmrec.recommender.state import State
from llmrec.recommender.templates import loaded_templates, saved_templates
from llmrec.signed.beliefs import from_parts, to_parts
from llmrec.store import (
    library_version,
    load_arrays,
    load_ids,
    load_json,
    load_table,
    read_folder,
    save_arrays,
    save_ids,
    save_json,
    save_table,
    write_folder,
)

KIND, WORDS = "recommender", "words.json"
CORE = ("z", "axes", "log_spread", "log_count")
COUNTED = ("popularity", "repurchase", "log_price", "position_popularity", "recent_position_popularity", "dates")


def save_state(folder: Path, state: State, histories: bool, also: Callable[[Path], None] | None = None) -> None:
    """Write a state atomically; an older save at `folder` is replaced as a whole.

    also: writes what else belongs into the open folder.
    Raises DataError for an initialisation that this layout has no place for.
    """
    init = state.init
    if init is not None and not (init.factor is init.inner is init.outer is None):
        raise DataError(
            "initialisation: expected one whose leaves all move at a learned rate a layer, as `fit` makes it, got one with "
            "`factor`, `inner` or `outer`; save its tensors with llmrec.store.save_arrays"
        )

    def write(to: Path) -> None:
        save_model(state.model.body.model, to / "body")
        if init is not None:
            save_adapter(to / "adapter", init.adapter, state.model.body)
        save_adapter_of(state.own_ranker, to)
        save_arrays(to / "arrays.safetensors", _arrays(state))
        save_table(to / "items.arrow", _plain(state.catalogue.table))
        save_ids(to / "items.json", state.catalogue.ids.values)
        save_json(to / "settings.json", asdict(state.settings))
        if state.vocabulary is not None:
            save_json(to / WORDS, state.vocabulary.words)
        if histories:
            _save_histories(to / "histories", state.histories)
            if state.people is not None:
                save_ids(to / "histories" / "people.json", state.people.users.values)
                save_arrays(to / "histories" / "people.safetensors", {"codes": state.people.attributes.codes})
        if also is not None:
            also(to)

    meta = {
        "layout": LAYOUT,
        "version": state.version,
        "seed": state.seed,
        "proximal": None if init is None else init.proximal,
        "max_grad_norm": None if init is None else init.max_grad_norm,
        "baskets": state.retrieval.counts.baskets,
        "words": state.retrieval.counts.words.shape[1],
        "markov": {name: _reach(getattr(state.retrieval.counts, name)) for name in ("markov_short", "markov_long")},
        "event_types": list(state.known.first.event_types),
        "scenes": list(state.known.first.scenes),
        "event_weights": asdict(state.known.first.event_weights),
        "histories": histories,
        "left_out": state.left_out or not histories,
        "trained": state.trained if histories else 0,
        "frame": state.frame,
        "table_format": saved_format(state.table_format),
        "user_attributes": None if state.people is None else asdict(state.people.encoding),
        "context": None if state.known.first.context is None else asdict(state.known.first.context),
        "gate": None if state.gate is None else state.gate.to_dict(),
        "tuned": None if state.retrieval.index.tuned is None else asdict(state.retrieval.index.tuned),
    }
    if state.templates is not None:
        meta["templates"] = saved_templates(state.templates)
    if state.catalogue.attributes is not None:
        meta["item_attributes"] = asdict(state.catalogue.attributes.encoding)
    if state.signed is not None:
        meta["signed"] = to_parts(state.signed)[1]
    if state.reranker is not None:
        meta["reranker"] = saved_reranker(state.reranker)
    write_folder(folder, write, KIND, meta)


def load_state(folder: Path, device: str, ranker: CandidateRanker | str | Path | None = None) -> State:
    """Read a state back; the index is built anew from the vectors, and searched as it was tuned before.

    Raises ArtefactError for any byte that has changed and for a folder that a newer llmrec saved, DataError for a device that
    is not available, TemplateError where a template is another one than it was fitted with; `ranker` is for `loaded_reranker`
    and raises as there.

    Where it was made does not matter: everything goes to `device`, the index too if faiss can use that, unless it was kept
    on the CPU on purpose.
    """
    return read_folder(folder, KIND, lambda there, meta: _state(there, meta, device, ranker))


def _state(folder: Path, meta: dict[str, Any], device: str, ranker: CandidateRanker | str | Path | None) -> State:
    check_layout(folder, KIND, meta, LAYOUT, MIGRATIONS)
    arrays = load_arrays(folder / "arrays.safetensors")
    if (events := folder / "histories" / "events.safetensors").is_file():
        arrays |= {f"histories.{name}": values for name, values in load_arrays(events).items()}
    read = migrated(Saved(meta, arrays, load_json(folder / "settings.json")), LAYOUT, MIGRATIONS)
    meta, arrays, saved = read.meta, read.arrays, _settings(read.settings, folder / "settings.json")
    index = saved.index if saved.index.device == "cpu" else replace(saved.index, device=None)
    settings = replace(saved, device=device, index=index)
    check_settings(settings)
    templates = loaded_templates(meta.get("templates"), settings, folder)
    gone, hidden = arrays.get("gone", np.zeros(0, np.int64)), arrays.get("hidden")
    told = meta.get("item_attributes")  # there alone where it was fitted with some
    of_items = None if told is None else Attributes(Encoding.from_dict(told), arrays["item_attributes"])
    catalogue = Catalogue(Ids(load_ids(folder / "items.json"), gone.tolist()), load_table(folder / "items.arrow"), of_items)
    body = load_body(Weights.folder(folder / "body"))
    heads = {name: torch.from_numpy(values) for name, values in _under(arrays, "model.").items()}
    people = _people(folder, meta)
    context = None if meta["context"] is None else Encoding.from_dict(meta["context"])
    n_user, n_context = 0 if people is None else people.encoding.width, 0 if context is None else context.width
    popularity, types = torch.ones(len(catalogue)), len(heads["event_type.weight"]) - 1
    given = n_user, n_context, None if catalogue.blocks is None else torch.from_numpy(catalogue.blocks)
    model = SlotModel(body, heads["prefix_ids"], heads["text"], popularity, heads["time_quantiles"], types, *given)
    model.load_state_dict({**heads, **{f"body.{name}": value for name, value in body.state_dict().items()}})
    model.eval().requires_grad_(False).to(device)
    init = None
    if "log_rate" in arrays:
        adapter, rates = load_adapter(folder / "adapter", body), torch.from_numpy(arrays["log_rate"])
        init = Initialisation(adapter, rates, meta["proximal"], meta["max_grad_norm"]).to(device)
    shared = [torch.from_numpy(arrays[f"core.{name}"]).to(device) for name in CORE if f"core.{name}" in arrays]
    core = UserCore(*shared) if shared else None
    counts = ItemStatistics(
        baskets=meta["baskets"],
        cooccurrence=_csr(_under(arrays, "cooccurrence."), len(catalogue)),
        ease=_csr(_under(arrays, "ease."), len(catalogue)),
        words=_csr(_under(arrays, "words."), len(catalogue), meta["words"]),
        text_knn=_csr(_under(arrays, "text_knn."), len(catalogue)),
        flow=Flow(**_under(arrays, "flow.")),
        markov_short=_markov(_under(arrays, "markov_short."), meta["markov"]["markov_short"]),
        markov_long=_markov(_under(arrays, "markov_long."), meta["markov"]["markov_long"]),
        groups=None if people is None else Groups(**_under(arrays, "groups.")),
        buyers=from_arrays(_under(arrays, "buyers.")),  # not in folders that were saved before it was kept
        **{name: arrays[f"counts.{name}"] for name in COUNTED},
    )
    items = frozen_items(model)
    tuned = None if meta.get("tuned") is None else Tuned(**meta["tuned"])  # not in folders that were saved before it was kept
    observed = arrays.get("observed")  # nor this
    retrieval = replace(new_retrieval(model, items, counts, settings, tuned), observed=observed)
    rankers, unseen = (
        Rankers(
            _ranker(_under(arrays, f"{counts}.")),
            _ranker(_under(arrays, f"{blend}.")),
            settings.blend_features,
            _cold(arrays.get(f"cold.{blend}")),
        )
        for counts, blend in (("ranker", "blend"), ("unseen_ranker", "unseen_blend"))
    )
    weights_of_events = EventWeights(tuple(meta["event_weights"]["types"]), meta["event_weights"]["scale"])
    empty = empty_dataset(catalogue, tuple(meta["event_types"]), tuple(meta["scenes"]), weights_of_events, context)
    known = (
        _histories(load_ids(folder / "histories" / "users.json"), _under(arrays, "histories."), empty)
        if meta["histories"]
        else empty
    )
    gate = None if meta["gate"] is None else from_dict(meta["gate"])
    return State(
        settings,
        model,
        items,
        init,
        retrieval,
        rankers,
        unseen,
        catalogue,
        KnownUsers((known,)),
        gate,
        version=meta["version"],
        seed=meta["seed"],
        trained=meta.get("trained", 0),  # these three are not in folders that were saved before they were kept
        left_out=meta.get("left_out", not meta["histories"]),
        frame=meta.get("frame", "pyarrow"),
        core=core,
        people=people,
        by_attributes=None if people is None else _ranker(_under(arrays, "by_attributes.")),
        hidden=hidden,
        vocabulary=_vocabulary(folder / WORDS, _under(arrays, "vocabulary.")),
        table_format=loaded_format(meta.get("table_format")),  # nor this
        signed=from_parts(_under(arrays, "signed."), meta["signed"]) if "signed" in meta else None,
        templates=templates,  # nor these
        reranker=loaded_reranker(meta.get("reranker"), folder, device, ranker),
        vector_prior=_prior(arrays),
    )


def _arrays(state: State) -> dict[str, np.ndarray]:
    counts = state.retrieval.counts
    arrays = {
        f"model.{name}": value.detach().cpu().numpy()
        for name, value in state.model.state_dict().items()
        if not name.startswith("body.")
    }
    arrays |= {f"counts.{name}": getattr(counts, name) for name in COUNTED}
    tables = {
        "cooccurrence": counts.cooccurrence,
        "ease": counts.ease,
        "words": counts.words,
        "text_knn": counts.text_knn,
        "markov_short": counts.markov_short.follows,
        "markov_long": counts.markov_long.follows,
    }
    for name, table in tables.items():
        arrays |= {f"{name}.{part}": getattr(table, part) for part in ("data", "indices", "indptr")}
    for name, markov in (("markov_short", counts.markov_short), ("markov_long", counts.markov_long)):
        arrays |= {f"{name}.exit_rate": markov.exit_rate, f"{name}.prior": markov.prior}
    arrays |= {f"flow.{name}": getattr(counts.flow, name) for name in ("ask", "answer", "centre")}
    kept = {
        "ranker": state.rankers.counts,
        "blend": state.rankers.blend,
        "unseen_ranker": state.unseen_rankers.counts,
        "unseen_blend": state.unseen_rankers.blend,
    }
    if state.by_attributes is not None:
        kept["by_attributes"] = state.by_attributes
    for name, ranker in kept.items():
        arrays |= {f"{name}.mean": ranker.mean, f"{name}.spread": ranker.spread}
        arrays |= {f"{name}.weights.{key}": value for key, value in ranker.weights.items()}
    if counts.groups is not None:
        arrays |= {f"groups.{one.name}": getattr(counts.groups, one.name) for one in fields(Groups)}
    if state.retrieval.observed is not None:  # counts over all users, so they are kept without histories too
        arrays["observed"] = state.retrieval.observed
    if counts.buyers is not None:  # likewise
        arrays |= {f"buyers.{name}": values for name, values in to_arrays(counts.buyers).items()}
    if state.vector_prior is not None:
        prior = state.vector_prior
        arrays |= {"prior.centre": prior.centre, "prior.numbers": np.array([prior.slope, prior.precision])}
    for name, pair in (("blend", state.rankers), ("unseen_blend", state.unseen_rankers)):
        if pair.cold is not None:
            arrays[f"cold.{name}"] = np.append(pair.cold.keep, pair.cold.weights)
    if state.catalogue.attributes is not None:
        arrays["item_attributes"] = state.catalogue.attributes.codes
    if state.catalogue.ids.gone:
        arrays["gone"] = np.array(sorted(state.catalogue.ids.gone), np.int64)
    if state.hidden is not None:
        arrays["hidden"] = state.hidden
    if state.vocabulary is not None:
        arrays |= {"vocabulary.rarity": state.vocabulary.rarity, "vocabulary.unseen": np.array([state.vocabulary.unseen])}
    if state.init is not None:
        arrays["log_rate"] = state.init.log_rate.cpu().numpy()
    if state.signed is not None:
        arrays |= {f"signed.{name}": values for name, values in to_parts(state.signed)[0].items()}
    if state.core is not None:
        arrays |= {f"core.{name}": getattr(state.core, name).cpu().numpy() for name in CORE}
    return arrays


def _under(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}


def _ranker(arrays: dict[str, np.ndarray]) -> Ranker:
    return Ranker(arrays["mean"], arrays["spread"], _under(arrays, "weights."))


def _cold(saved: np.ndarray | None) -> ColdWeights | None:
    return None if saved is None else ColdWeights(float(saved[0]), saved[1:])


def _prior(arrays: dict[str, np.ndarray]) -> VectorPrior | None:
    return VectorPrior(arrays["prior.centre"], *arrays["prior.numbers"].tolist()) if "prior.centre" in arrays else None


def _csr(arrays: dict[str, np.ndarray], n: int, columns: int | None = None) -> sparse.csr_array:
    return sparse.csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(n, n if columns is None else columns))


def _reach(markov: Markov) -> dict[str, Any]:
    return {"last": markov.last, "decay": markov.decay, "usual": markov.usual}


def _markov(arrays: dict[str, np.ndarray], reach: dict[str, Any]) -> Markov:
    follows, usual = _csr(arrays, len(arrays["prior"])), reach.get("usual")  # not in folders that were saved before it was kept
    return Markov(follows, arrays["exit_rate"], arrays["prior"], reach["last"], reach["decay"], usual=usual)


def _vocabulary(words: Path, arrays: dict[str, np.ndarray]) -> Vocabulary | None:
    """None in a folder of a catalogue whose texts never changed."""
    return Vocabulary(tuple(load_json(words)), arrays["rarity"], float(arrays["unseen"][0])) if arrays else None


def _settings(saved: dict[str, Any], file: Path) -> Settings:
    try:
        return filled(Settings(), saved, file)
    except DataError as error:
        raise ArtefactError(
            f"{error} (this is llmrec {library_version()}: install the version that saved the folder, or fit and save it again)"
        ) from error


def _save_histories(to: Path, known: Dataset) -> None:
    to.mkdir()
    save_ids(to / "users.json", known.users.values)
    arrays = {name: getattr(known, name) for name in ("start", "item", "time", "basket")}
    arrays |= {f"attributes.{name}": values for name, values in known.attributes.items()}
    save_arrays(to / "events.safetensors", arrays | ({} if known.scene is None else {"scene": known.scene}))


def _histories(users: list[Any], arrays: dict[str, np.ndarray], empty: Dataset) -> Dataset:
    return replace(
        empty,
        users=Ids(users),
        attributes=_under(arrays, "attributes."),
        start=arrays["start"],
        item=arrays["item"],
        time=arrays["time"],
        basket=arrays["basket"],
        scene=arrays.get("scene"),
    )


def _people(folder: Path, meta: dict[str, Any]) -> UserTable | None:
    """The users whose attributes were saved: none of them without histories, and None for a model without attributes."""
    if meta["user_attributes"] is None:
        return None
    encoding = Encoding.from_dict(meta["user_attributes"])
    if not meta["histories"]:
        return no_users(encoding)
    codes = load_arrays(folder / "histories" / "people.safetensors")["codes"]
    return UserTable(Ids(load_ids(folder / "histories" / "people.json")), Attributes(encoding, codes))


def _plain(table: pa.Table) -> pa.Table:
    """The catalogue without its ids, which are saved apart with their kind."""
    return table.drop_columns([name for name in ("item_id",) if name in table.column_names])
