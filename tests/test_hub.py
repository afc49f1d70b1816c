"""Folders pushed to the hub and fetched from it, with a server on this machine in its place."""

from __future__ import annotations

import pytest
from huggingface_hub import constants

from llmrec.errors import ArtefactError, DataError
from llmrec.hub import fetched, push
from llmrec.store import open_folder, write_folder


def saved(**files):
    """What writes a folder of a kind with these files."""

    def save(folder):
        def write(to):
            for name, text in files.items():
                (to / f"{name}.txt").write_text(text)

        write_folder(folder, write, "toy", {"of": sorted(files)})

    return save


def test_what_is_pushed_is_fetched(hub):
    address = push(saved(a="1", b="2"), "me/shop", private=True)
    assert address.startswith(f"{hub.url}/me/shop/commit/") and hub.private == {"me/shop": True}
    folder = fetched("me/shop")
    assert open_folder(folder, "toy") == {"of": ["a", "b"]}
    assert (folder / "b.txt").read_text() == "2"


def test_a_second_push_replaces_the_first_and_leaves_texts_alone(hub, tmp_path):
    first = push(saved(a="1", b="2"), "me/shop").rpartition("/")[2]
    hub.put("me/shop", hub.files("me/shop") | {"README.md": b"# Ours"})
    push(saved(a="3"), "me/shop")
    assert set(hub.files("me/shop")) == {".gitattributes", "README.md", "a.txt", "manifest.json"}
    assert (fetched("me/shop") / "a.txt").read_text() == "3"
    assert open_folder(fetched("me/shop", revision=first), "toy") == {"of": ["a", "b"]}


def test_texts_beside_the_folder_go_along(hub, tmp_path):
    shop = tmp_path / "shop"
    saved(a="1")(shop)
    for name in ("README.md", ".DS_Store", ".git/config"):
        (shop / name).parent.mkdir(exist_ok=True)
        (shop / name).write_text("# A card")
    push(saved(a="1"), "me/shop", beside=shop)
    assert hub.files("me/shop")["README.md"] == b"# A card"
    assert set(hub.files("me/shop")) == {".gitattributes", "README.md", "a.txt", "manifest.json"}


def test_a_branch_is_made_and_fetched(hub):
    push(saved(a="1"), "me/shop")
    push(saved(a="2"), "me/shop", revision="next")
    assert (fetched("me/shop") / "a.txt").read_text() == "1"
    assert (fetched("me/shop", revision="next") / "a.txt").read_text() == "2"


def test_bytes_that_changed_on_the_hub_are_found(hub):
    push(saved(a="1"), "me/shop")
    hub.put("me/shop", hub.files("me/shop") | {"a.txt": b"9"})
    with pytest.raises(ArtefactError, match="a.txt: expected SHA-256"):
        open_folder(fetched("me/shop"), "toy")


def test_a_repository_of_something_else_is_left_alone(hub):
    hub.put("me/llama", {"model.safetensors": b"precious", "README.md": b"# A model"})
    with pytest.raises(ArtefactError, match="'me/llama' on the hub.*'model.safetensors', which are left alone"):
        push(saved(a="1"), "me/llama")
    assert set(hub.files("me/llama")) == {"model.safetensors", "README.md"}


def test_a_folder_on_this_machine_wins(hub, tmp_path, monkeypatch):
    push(saved(a="1"), "me/shop")
    assert hub.asked
    hub.asked.clear()
    monkeypatch.chdir(tmp_path)
    saved(a="here")(tmp_path / "me" / "shop")
    assert (fetched("me/shop") / "a.txt").read_text() == "here"
    with pytest.raises(DataError, match="revision is 'main', expected None for a folder on this machine"):
        fetched("me/shop", revision="main")
    for name in ("nowhere", "a/b/c", "./me/none", tmp_path / "me"):  # no names of the hub
        assert fetched(name) is not None
    assert hub.asked == []


def test_what_is_not_there_is_said_with_a_remedy(hub):
    push(saved(a="1"), "me/shop")
    with pytest.raises(ArtefactError, match="'me/none': there is no such folder here, and no repository.*check the name"):
        fetched("me/none")
    with pytest.raises(ArtefactError, match="no revision 'v9'; expected a branch, a tag or a commit"):
        fetched("me/shop", revision="v9")
    with pytest.raises(ArtefactError, match="'me//shop' is not pushed: the hub does not allow such a name"):
        push(saved(a="1"), "me//shop")


def test_a_token_is_asked_for(hub):
    push(saved(a="1"), "me/shop", private=True)
    hub.token = "right"
    with pytest.raises(ArtefactError, match="hf auth login"):
        fetched("me/shop", token="wrong")
    with pytest.raises(ArtefactError, match="'me/shop' is not pushed: the hub refuses it; log in"):
        push(saved(a="2"), "me/shop", token="wrong")
    push(saved(a="2"), "me/shop", token="right")
    assert (fetched("me/shop", token="right") / "a.txt").read_text() == "2"


def test_without_a_connection_the_cache_is_taken_or_the_remedy_said(hub, monkeypatch):
    push(saved(a="1"), "me/shop")
    fetched("me/shop")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert (fetched("me/shop") / "a.txt").read_text() == "1"
    with pytest.raises(ArtefactError, match="'me/other'.*cannot be reached.*HF_HUB_OFFLINE, or give the path of a folder"):
        fetched("me/other")
    with pytest.raises(ArtefactError, match="'me/shop' is not pushed: the Hugging Face hub cannot be reached"):
        push(saved(a="1"), "me/shop")
