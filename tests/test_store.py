"""Laws of the store: what is opened is byte for byte what was saved, and at every moment the old save or the new one opens."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from llmrec import store
from llmrec.errors import ArtefactError
from llmrec.store import (
    check_target,
    load_arrays,
    load_ids,
    load_json,
    load_table,
    open_folder,
    save_arrays,
    save_ids,
    save_json,
    save_table,
    write_folder,
)

KIND = "thing"


def write(path: Path, version: int, size: int = 300) -> None:
    """A save whose every file tells its version."""

    def writer(folder: Path) -> None:
        save_arrays(folder / "arrays.safetensors", {"x": np.full(size, version)})
        (folder / "deep").mkdir()
        save_json(folder / "deep" / "more.json", {"version": version})

    write_folder(path, writer, KIND, {"version": version})


def version(path: Path) -> int:
    """The version of a save, after checking that all of it is of that one version."""
    meta = open_folder(path, KIND)
    assert load_json(path / "deep" / "more.json") == meta
    assert set(load_arrays(path / "arrays.safetensors")["x"]) == {meta["version"]}
    return meta["version"]


def beside(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())


def test_what_was_saved_is_opened_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "folder [1]"
    for number in range(3):
        write(path, number)
        assert version(path) == number
        assert beside(path) == ["folder [1]"]


def test_a_folder_that_cannot_be_written_is_refused_before_and_while_saving(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "save", tmp_path / "file" / "new" / "save"):
        for refused in (check_target, lambda path: write(path, 1)):
            with pytest.raises(ArtefactError, match="expected a path that can be written to") as caught:
                refused(path)
            assert str(path) in str(caught.value)
    check_target(tmp_path / "new" / "save")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_others_may_read_what_was_saved(tmp_path):
    def write(folder: Path) -> None:
        save_arrays(folder / "a.safetensors", {"x": np.zeros(3)})
        (folder / "b.txt").touch(mode=0o600)

    write_folder(tmp_path / "save", write, "thing", {})
    files = [file for file in (tmp_path / "save").rglob("*") if file.is_file()]
    assert len(files) == 3 and {file.stat().st_mode & 0o777 for file in files} == {0o644}


def test_meta_comes_back_as_json_has_it(tmp_path):
    meta = {"text": "ä\ud800", "list": (1, 2.5, None), "keys": {10: True, 9: False}, "tiny": 5e-324}
    write_folder(tmp_path / "a", lambda folder: None, KIND, meta)
    expected = {"text": "ä\ud800", "list": [1, 2.5, None], "keys": {"10": True, "9": False}, "tiny": 5e-324}
    assert open_folder(str(tmp_path / "a"), KIND) == expected
    for bad, error in (({"x": float("nan")}, ValueError), ({"x": np.float32(1)}, TypeError)):
        with pytest.raises(error):
            write_folder(tmp_path / "b", lambda folder: None, KIND, bad)
    assert not (tmp_path / "b").exists()


def test_one_wrong_byte_anywhere_is_found(tmp_path):
    path = tmp_path / "a"
    write(path, 1, size=20)
    for file in [file for file in path.rglob("*") if file.is_file()]:
        whole = file.read_bytes()
        for place in range(len(whole)):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << (place % 8)
            file.write_bytes(damaged)
            with pytest.raises(ArtefactError, match=file.name):
                open_folder(path, KIND)
        file.write_bytes(whole)
    assert version(path) == 1


def test_cut_short_or_longer_is_found_with_both_sizes(tmp_path):
    path = tmp_path / "a"
    write(path, 1)
    for file in [file for file in path.rglob("*") if file.is_file()]:
        whole = file.read_bytes()
        for damaged in (b"", whole[:-1], whole[: len(whole) // 2], whole + b"\n"):
            file.write_bytes(damaged)
            with pytest.raises(ArtefactError, match=file.name) as error:
                open_folder(path, KIND)
            if file.name != store.MANIFEST:
                assert f"expected {len(whole):,} bytes, got {len(damaged):,}" in str(error.value)
        file.write_bytes(whole)
    assert version(path) == 1


def test_a_file_that_is_missing_or_was_added_is_named(tmp_path):
    path = tmp_path / "a"
    write(path, 1)
    for name in ("arrays.safetensors", "deep/more.json", store.MANIFEST):
        (path / name).rename(tmp_path / "away")
        with pytest.raises(ArtefactError, match=Path(name).name):
            open_folder(path, KIND)
        (tmp_path / "away").rename(path / name)
    for name in ("extra.bin", "deep/.hidden", "deep/manifest.json"):
        (path / name).write_bytes(b"")
        with pytest.raises(ArtefactError, match=Path(name).name):
            open_folder(path, KIND)
        (path / name).unlink()
    os.symlink(tmp_path / "nowhere", path / "dangling")
    with pytest.raises(ArtefactError, match="dangling"):
        open_folder(path, KIND)


def test_texts_and_what_tools_put_there_may_stand_beside_a_save_and_stay(tmp_path):
    path = tmp_path / "a"
    write(path, 1)
    beside = [
        "README.md",
        "notes.MD",
        ".gitattributes",
        ".gitignore",
        ".DS_Store",
        "deep/.DS_Store",
        "deep/README.md",
        "LICENSE",
    ]
    beside += [".git/config", ".git/objects/ab/cd", ".cache/huggingface/download/x.metadata"]
    for name in beside:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(name, encoding="utf-8")
    (path / ".git" / "refs").mkdir()
    (path / ".git" / "hook").touch(mode=0o755)
    assert version(path) == 1
    write(path, 2)
    assert version(path) == 2
    assert all((path / name).read_text(encoding="utf-8") == name for name in beside)
    assert (path / ".git" / "refs").is_dir() and (path / ".git" / "hook").stat().st_mode & 0o777 == 0o755
    for name in ("readme.txt", "model.md.bin", ".github", "deep/.git", ".cache/other/x"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("x", encoding="utf-8")
        with pytest.raises(ArtefactError, match="expected only the files that were saved"):
            open_folder(path, KIND)
        (path / name).unlink()


def test_a_folder_with_nothing_but_such_files_may_be_saved_into(tmp_path):
    """As a fresh clone of an empty repository is; a link among them could lead to somebody's work, and is left alone."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "README.md").write_text("card", encoding="utf-8")
    write(tmp_path / "a", 1)
    assert version(tmp_path / "a") == 1 and (tmp_path / "a" / "README.md").read_text(encoding="utf-8") == "card"
    (tmp_path / "b").mkdir()
    os.symlink(tmp_path / "a", tmp_path / "b" / "README.md")
    with pytest.raises(ArtefactError, match="left alone"):
        write(tmp_path / "b", 1)


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    write(Path("~/a"), 1)
    assert open_folder("~/a", KIND) == {"version": 1} and version(tmp_path / "home" / "a") == 1
    assert beside(tmp_path / "home") == ["home"]
    monkeypatch.setenv("LLMREC_CACHE", "~/cache")
    assert store.cache_folder() == tmp_path / "home" / "cache"


def test_a_manifest_of_someone_elses_making_is_refused(tmp_path):
    path = tmp_path / "a"
    write(path, 1)
    manifest = json.loads((path / store.MANIFEST).read_bytes())
    for raw in ("[]", "{}", "null", '{"seal": "x"}', "\xff", json.dumps(manifest | {"kind": "other"}), json.dumps(manifest)):
        (path / store.MANIFEST).write_bytes(raw.encode("latin-1"))
        with pytest.raises(ArtefactError, match="expected the manifest as it was saved"):
            open_folder(path, KIND)


def test_another_kind_or_format_says_which(tmp_path, monkeypatch):
    write(tmp_path / "a", 1)
    with pytest.raises(ArtefactError, match='expected "adapter", got "thing"'):
        open_folder(tmp_path / "a", "adapter")
    monkeypatch.setattr(store, "FORMAT", 2)
    with pytest.raises(ArtefactError, match="expected format 2, got 1, written by llmrec"):
        open_folder(tmp_path / "a", KIND)


def test_what_is_not_a_save_says_what_is_there(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for name, got in (("file", "a file"), ("folder", "a folder without one"), ("gone", "nothing there")):
        with pytest.raises(ArtefactError, match=f"{name}: expected a saved folder .* got {got}"):
            open_folder(tmp_path / name, KIND)


def test_somebody_elses_files_are_never_replaced(tmp_path):
    folder, file, empty = tmp_path / "folder", tmp_path / "file", tmp_path / "empty"
    folder.mkdir(), empty.mkdir()
    (folder / "thesis.doc").write_text("ten years of work")
    file.write_text("more work")
    for path in (folder, file):
        with pytest.raises(ArtefactError, match="left alone"):
            write(path, 1)
    assert (folder / "thesis.doc").read_text() == "ten years of work" and file.read_text() == "more work"
    write(empty, 1)
    assert version(empty) == 1
    assert beside(empty) == ["empty", "file", "folder"]


def test_a_link_is_followed_and_stays(tmp_path):
    write(tmp_path / "v1", 1)
    os.symlink(tmp_path / "v1", tmp_path / "current")
    write(tmp_path / "current", 2)
    assert (tmp_path / "current").is_symlink() and version(tmp_path / "current") == version(tmp_path / "v1") == 2


def test_a_writer_that_fails_leaves_the_older_save(tmp_path):
    write(tmp_path / "a", 1)

    def linking(folder: Path) -> None:
        os.symlink(tmp_path, folder / "link")

    for writer, error in (
        (lambda folder: (folder / "x").write_text("x") and 1 / 0, ZeroDivisionError),
        (lambda folder: (folder / store.MANIFEST).write_text("x"), ValueError),
        (linking, ValueError),
    ):
        with pytest.raises(error):
            write_folder(tmp_path / "a", writer, KIND, {})
        assert version(tmp_path / "a") == 1 and beside(tmp_path / "a") == ["a"]


@pytest.mark.parametrize("call", [1, 2])
def test_a_rename_that_fails_leaves_the_older_save(tmp_path, monkeypatch, call):
    path, calls, replace = tmp_path / "a", [], os.replace
    write(path, 1)

    def failing(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == call:
            raise OSError("no space")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="no space"):
        write(path, 2)
    assert beside(path) == ["a"]
    assert version(path) == 1


@pytest.mark.parametrize("older", [True, False])
def test_a_crash_at_any_moment_leaves_the_old_or_the_new(tmp_path, monkeypatch, older):
    """The disk is copied before and after every call that changes it: each copy is what a crash there would leave."""
    path, shots = tmp_path / "live" / "a", tmp_path / "shots"
    if older:
        write(path, 1)
    else:
        path.parent.mkdir()

    def shoot() -> None:
        shutil.copytree(path.parent, shots / f"{len(list(shots.iterdir())):03d}")

    def watched(call):
        def watch(*args, **kwargs):
            shoot()
            result = call(*args, **kwargs)
            shoot()
            return result

        return watch

    shots.mkdir()
    with monkeypatch.context() as patch:
        for name in ("replace", "fsync", "unlink", "rmdir"):
            patch.setattr(os, name, watched(getattr(os, name)))
        write(path, 2)

    seen, between = [], 0
    for shot in sorted(shots.iterdir()):
        survivor = shot / "a"
        between += not survivor.exists()
        try:
            seen.append(version(survivor))
        except ArtefactError:
            assert not older, f"{shot.name}: neither the old nor the new opens: {beside(survivor)}"
            seen.append(0)
        write(survivor, 3)  # and the next save works
        assert version(survivor) == 3
    assert seen == sorted(seen) and seen[0] == int(older) and seen[-1] == 2  # the old, then the new, never back
    assert 1 in seen or not older
    assert between > 0  # the moment between the renames was among them


@pytest.mark.slow
def test_a_process_that_is_killed_between_the_renames_loses_nothing(tmp_path):
    path = tmp_path / "a"
    write(path, 1)
    code = (
        "import os, sys\n"
        "from llmrec import store\n"
        "replace, calls = os.replace, []\n"
        "def dying(source, target):\n"
        "    calls.append(source)\n"
        "    os._exit(9) if len(calls) == 2 else replace(source, target)\n"
        "os.replace = dying\n"
        "store.write_folder(sys.argv[1], lambda folder: (folder / 'x').write_text('x'), 'thing', {'version': 2})\n"
    )
    root = str(Path(store.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code, str(path)], env=os.environ | {"PYTHONPATH": root}, check=False)
    assert done.returncode == 9 and not path.exists()
    assert version(path) == 1
    hidden = [name for name in beside(path) if name != "a"]
    assert len(hidden) == 1 and ".saving-" in hidden[0]
    write(path, 3)
    assert hidden[0] in beside(path)  # may be another process's work in progress
    os.utime(tmp_path / hidden[0], (0, 0))
    write(path, 4)
    assert beside(path) == ["a"] and version(path) == 4


numbers = st.one_of(
    hnp.boolean_dtypes(), hnp.integer_dtypes(), hnp.unsigned_integer_dtypes(), hnp.floating_dtypes(sizes=(16, 32, 64))
)
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


@settings(deadline=None, max_examples=60)
@given(arrays=st.dictionaries(st.text(max_size=5), hnp.arrays(numbers, shapes), max_size=3), turn=st.booleans())
def test_arrays_come_back_as_they_were(tmp_path_factory, arrays, turn):
    file = tmp_path_factory.mktemp("arrays") / "a"
    arrays = {name: values.T if turn else values for name, values in arrays.items() if name != "__metadata__"}
    save_arrays(file, arrays)
    loaded = load_arrays(file)
    assert loaded.keys() == arrays.keys()
    for name, values in arrays.items():
        assert loaded[name].dtype == values.dtype.newbyteorder("=") and loaded[name].shape == values.shape
        np.testing.assert_array_equal(loaded[name], values)
        loaded[name][...] = 0  # writable


@pytest.mark.parametrize(
    "values", [np.array(["a"]), np.array([None]), np.zeros(2, "datetime64[s]"), np.zeros(2, np.longdouble)]
)
def test_arrays_that_would_need_pickle_or_more_are_refused(tmp_path, values):
    with pytest.raises(TypeError, match="array 'x' is"):
        save_arrays(tmp_path / "a", {"x": values})


kinds = st.one_of(st.lists(st.text()), st.lists(st.integers()), st.lists(st.uuids()))


@settings(deadline=None, max_examples=60)
@given(ids=kinds)
def test_ids_come_back_as_they_were(tmp_path_factory, ids):
    file = tmp_path_factory.mktemp("ids") / "ids.json"
    save_ids(file, ids)
    loaded = load_ids(file)
    assert loaded == ids and [type(value) for value in loaded] == [type(value) for value in ids]


def test_ids_of_mixed_or_other_kinds_are_refused(tmp_path):
    file = tmp_path / "ids.json"
    save_ids(file, [np.int64(5), 6])
    assert load_ids(file) == [5, 6]
    save_ids(file, ["\ud800", "../../etc/passwd", "5"])
    assert load_ids(file) == ["\ud800", "../../etc/passwd", "5"]
    for bad in ([1, "1"], [uuid.uuid4(), "x"], [True], [1.0], [None], [b"x"]):
        with pytest.raises(TypeError, match="ids: expected"):
            save_ids(file, bad)


def test_tables_come_back_as_they_were(tmp_path):
    table = pa.table(
        {
            "title": ["Mug", None, "ä"],
            "tags": [["a"], [], None],
            "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
            "when": pa.array([0, 1, None], pa.timestamp("us", "UTC")),
        }
    )
    for part in (table, table.slice(1, 1), table.slice(0, 0)):
        save_table(tmp_path / "a", part)
        assert load_table(tmp_path / "a").equals(part) and load_table(tmp_path / "a").schema == part.schema


@pytest.mark.parametrize("load", [load_arrays, load_json, load_ids, load_table])
def test_a_file_of_another_sort_is_an_artefact_error(tmp_path, load):
    file = tmp_path / "a"
    with pytest.raises(ArtefactError, match="save it again"):
        load(file)
    for content in (b"", b"junk", b"\x80\x04\x95pickle"):
        file.write_bytes(content)
        with pytest.raises(ArtefactError, match="save it again"):
            load(file)


def test_json_refuses_what_other_readers_do_not_know(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_json(tmp_path / "a", [float("inf")])


def test_the_cache_folder_is_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.setenv("LLMREC_CACHE", "/own")
    assert store.cache_folder() == Path("/own")
    monkeypatch.delenv("LLMREC_CACHE")
    assert store.cache_folder() == Path("/x/llmrec")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert store.cache_folder() == Path.home() / ".cache" / "llmrec"
