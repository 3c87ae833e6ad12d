"""`plan` and `doctor` as a user calls them."""

from __future__ import annotations

import json

from langchain_xlm.models.processor import computes_bfloat16


def test_plan_shows_every_setting_and_where_it_goes(command, checkpoints):
    outcome = command(
        "plan", checkpoints("nllb"), "--gpu", "1GiB", "--length", "16", "--beams", "2"
    )
    assert outcome.code == 0, outcome.err
    for word in ("float32", "bfloat16", "8bit", "4bit", "1.0 GiB, stated", "whole on cuda:0"):
        assert word in outcome.out
    assert "16 written, 2 beams" in outcome.out
    assert "Never quantized: lm_head" in outcome.out
    assert "Recommended for cuda:0: dtype='bfloat16', on torch" in outcome.out


def test_plan_as_json_has_the_sums(command, checkpoints):
    plan = json.loads(command("plan", checkpoints("xlm-roberta"), "--json").out)
    assert [each["setting"] for each in plan["settings"]] == ["float32", "bfloat16", "8bit", "4bit"]
    for each in plan["settings"]:
        parts = each["weights"]["total"] + each["activations_bytes"] + each["cache_bytes"]
        assert each["running_bytes"] == parts


def test_plan_of_nothing_is_one_sentence(command, tmp_path):
    outcome = command("plan", tmp_path / "missing")
    assert outcome.code == 1
    assert outcome.err.startswith("langchain-xlm: Could not load")
    assert command("plan", "starter", "--gpu", "big").err.startswith(
        "langchain-xlm: gpus has 'big'"
    )
    assert command("plan", "starter", "--batch", "0").code == 2


def test_doctor_tries_everything_on_every_device(command):
    found = json.loads(command("doctor", "--json").out)
    tried = {(each["kind"], each["name"]): each for each in found["trials"]}
    assert tried["dtype", "float32"]["works"]
    assert tried["attention", "eager"]["works"]
    assert tried["attention", "sdpa"]["works"]
    assert tried["quantization", "8bit"]["works"]
    assert tried["quantization", "4bit"]["works"]
    assert all(each["works"] or each["reason"] for each in found["trials"])
    if tried["dtype", "bfloat16"]["device"] == "cpu":
        imitated = "imitated" in tried["dtype", "bfloat16"]["remark"]
        assert imitated == (not computes_bfloat16())
        assert not (imitated and found["recommended"]["dtype"] == "bfloat16")
    assert "bitsandbytes" in tried["quantization", "8bit"]["by"]
    assert found["devices"][-1]["name"] == "cpu"
    assert 0 < found["devices"][-1]["free_bytes"] <= found["devices"][-1]["total_bytes"]
    assert found["packages"]["torch"]
    assert found["recommended"]["largest"]["float32"] > 0
