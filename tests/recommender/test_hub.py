"""A recommender pushed to the hub answers as the one that was pushed, without anybody's history unless asked to."""

from __future__ import annotations

import pytest

from llmrec import Recommender
from llmrec.errors import ArtefactError, MissingHistoriesWarning


def rows(answer):
    return answer.drop(columns="steps").to_dict("records")


def test_answers_are_equal_and_histories_stay_at_home(hub, recommender, clicks):
    recommender.push_to_hub("me/shop")
    assert not [name for name in hub.files("me/shop") if name.startswith("histories")]
    fetched = Recommender.from_pretrained("me/shop")
    assert rows(fetched.recommend(histories=clicks, k=5)) == rows(recommender.recommend(histories=clicks, k=5))
    with pytest.warns(MissingHistoriesWarning):
        fetched.recommend(["u001"], k=5)


def test_histories_go_along_on_request_and_go_again(hub, recommender):
    recommender.push_to_hub("me/shop", histories=True)
    assert rows(Recommender.from_pretrained("me/shop").recommend(["u001"])) == rows(recommender.recommend(["u001"]))
    recommender.push_to_hub("me/shop")
    assert not [name for name in hub.files("me/shop") if name.startswith("histories")]


def test_the_model_card_of_the_folder_goes_along(hub, recommender, tmp_path):
    recommender.save_pretrained(tmp_path / "shop")
    (tmp_path / "shop" / "README.md").write_text("# A shop")
    Recommender.from_pretrained(tmp_path / "shop").push_to_hub("me/shop")
    assert hub.files("me/shop")["README.md"] == b"# A shop"
    again = Recommender.from_pretrained("me/shop")
    again.push_to_hub("you/shop")
    assert hub.files("you/shop")["README.md"] == b"# A shop"


def test_a_changed_byte_on_the_hub_is_found(hub, recommender):
    recommender.push_to_hub("me/shop")
    files = dict(hub.files("me/shop"))
    files["arrays.safetensors"] = files["arrays.safetensors"][:-1] + b"\0"
    hub.put("me/shop", files)
    with pytest.raises(ArtefactError, match=r"arrays.safetensors: expected SHA-256"):
        Recommender.from_pretrained("me/shop")
