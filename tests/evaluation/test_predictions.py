from __future__ import annotations

import json

import pytest

from langchain_xlm.errors import ConfigurationError, InputError
from langchain_xlm.evaluation.predictions import FolderLock, PredictionFile
from langchain_xlm.evaluation.systems import System, combine

MADE = [{"output": f"text {n} 你好\u2028"} for n in range(5)]


def test_predictions_come_back_in_order(tmp_path):
    kept = PredictionFile(tmp_path, "starter · 4bit", {"a": 1})
    assert kept.read(chunk=2, inputs=5) == []
    kept.add(MADE[:2])
    kept.add(MADE[2:4])
    kept.add(MADE[4:])
    assert PredictionFile(tmp_path, "starter · 4bit", {"a": 1}).read(chunk=2, inputs=5) == MADE
    assert kept.path.name.startswith("starter-4bit-")


def test_only_whole_chunks_count_after_a_kill(tmp_path):
    kept = PredictionFile(tmp_path, "m", {})
    kept.add(MADE[:4])
    torn = kept.path.read_bytes()
    kept.path.write_bytes(torn[:-3])  # in the middle of the fourth line
    assert kept.read(chunk=2, inputs=5) == MADE[:2]
    kept.add(MADE[2:4])
    assert kept.path.read_bytes() == torn, "what was torn off is written anew"
    assert kept.read(chunk=3, inputs=5) == MADE[:3]
    # The last chunk is whole though it is shorter.
    kept.path.write_bytes(b"".join(json.dumps(each).encode() + b"\n" for each in MADE))
    assert kept.read(chunk=3, inputs=5) == MADE


def test_everything_that_bears_on_predictions_names_their_file(tmp_path):
    def path(**identity):
        return PredictionFile(tmp_path, "m", identity).path

    assert path(model="a", limit=1) == path(limit=1, model="a")
    assert path(model="a") != path(model="b")


def test_two_processes_do_not_share_a_folder(tmp_path):
    folder = tmp_path / "new"
    with FolderLock(folder):
        with pytest.raises(InputError, match="another process"), FolderLock(folder):
            pass
        assert (folder / ".lock").exists()
    with FolderLock(folder):
        pass
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_every_combination_is_a_system():
    systems = combine(["a/b", "starter"], ["none", "4bit"], [None, "cpu"])
    assert [system.name for system in systems] == [
        "a/b",
        "a/b · cpu",
        "a/b · 4bit",
        "a/b · 4bit · cpu",
        "starter",
        "starter · cpu",
        "starter · 4bit",
        "starter · 4bit · cpu",
    ]
    assert systems[3].fields() == {"model": "a/b", "device": "cpu", "quantization": "4bit"}
    assert System(precision="bfloat16").fields()["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precisions": ["3bit"]}, "quantization='3bit' is unknown. Give one of none"),
        ({"models": ["a/b", "a/b"]}, "'a/b' stands for two systems"),
        ({"precisions": ["4bit"], "loading": {"quantization": "8bit"}}, "sets quantization"),
        ({"devices": ["nowhere"]}, "starter · nowhere"),
    ],
)
def test_what_cannot_work_is_refused_before_loading(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        combine(**arguments)


def test_secrets_do_not_reach_identities():
    system = System(model="a/b", loading={"token": "hf_secret", "cache_dir": "/tmp/x"})
    assert "secret" not in json.dumps(system.identity())
    assert "cache_dir" not in system.identity()
