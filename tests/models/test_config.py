"""What to load is checked when it is written down, before any file is read."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from langchain_xlm.errors import ConfigurationError
from langchain_xlm.models.config import LoadingFields, LoadSpec

# What is written, and a part of the sentence that answers it.
ILLEGAL: list[tuple[dict[str, Any], str]] = [
    ({"device": "cuda", "device_map": "auto"}, "contradict each other"),
    ({"quantization": "3bit"}, "quantization='3bit'"),
    ({"quantization": "4bit", "dtype": "float"}, "dtype='float32' contradict"),
    ({"quantization": "8bit", "device": "mps"}, "'mps'"),
    ({"quantization": "8bit", "device_map": {"": "mps"}}, "'mps'"),
    ({"quantization": "8bit", "device_map": {"a": 0, "b": "cpu"}}, "fp32_cpu_offload"),
    ({"quantization": {"load_in_8bit": True, "load_in_4bits": 1}}, "Did you mean 'load_in_4bit'"),
    ({"quantization": {"load_in_8bit": False}}, "exactly one"),
    ({"quantization": "{half"}, "quantization='{half'"),
    ({"max_memory": {0: "1GiB"}}, "device_map='auto'"),
    ({"max_memory": {"gpu": 1}, "device_map": "auto"}, "'gpu'"),
    ({"max_memory": {0: "lots"}, "device_map": "auto"}, "'lots'"),
    ({"max_memory": {}, "device_map": "auto"}, "max_memory={}"),
    ({"max_memory": {0: 1}, "device_map": {"": 0}}, "names every place"),
    ({"max_memory": {-1: "1GiB"}, "device_map": "auto"}, "-1"),
    ({"max_memory": {0: 0, "cpu": 0}, "device_map": "auto"}, "leaves no room"),
    ({"device_map": {"a": -1}}, "-1"),
    ({"device_map": {"": "disk"}}, "offload_folder"),
    ({"device_map": {"": 0}, "offload_folder": "x"}, "sends nothing to 'disk'"),
    (
        {"quantization": "8bit", "device_map": "auto", "offload_folder": "x"},
        "llm_int8_enable_fp32_cpu_offload=True) with a device_map",
    ),
    (
        {"quantization": {"load_in_8bit": True, "llm_int8_enable_fp32_cpu_offload": True}},
        "but device_map names none",
    ),
    ({"quantization": {"load_in_4bit": True, "bnb_4bit_quant_type": "int4"}}, "Give 'nf4'"),
    ({"device_map": "cuda:0"}, "device='cuda:0' instead"),
    ({"device_map": "autos"}, "balanced_low_0"),
    ({"device_map": {"a": "gpu"}}, "'gpu'"),
    ({"device_map": {"a": True}}, "True"),
    ({"offload_folder": "x"}, "device_map='auto'"),
    ({"device": "gpu"}, "device='gpu'"),
    ({"device": "auto"}, "device_map='auto' instead"),
    ({"device": True}, "device=True"),
    ({"dtype": "int8"}, "quantization='8bit'"),
    ({"dtype": "flaot32"}, "Did you mean 'float32'"),
    ({"attn_implementation": "flash"}, "flash_attention_2"),
    ({"attn_implementation": "flash_attention_2", "device": "cpu"}, "Give 'sdpa'"),
    ({"attn_implementation": "flash_attention_2", "dtype": "fp32"}, "Give 'sdpa'"),
    ({"backend": "onnx"}, "backend='onnx'"),
    *(
        ({"backend": "ctranslate2", "model": "owner/name"} | wrong, advice)
        for wrong, advice in (
            ({"device": "cuda"}, "device='cuda' was given"),
            ({"device_map": "auto"}, "cannot follow a device map"),
            ({"quantization": "4bit"}, "quantization='8bit' or None"),
            ({"quantization": {"load_in_8bit": True}}, "quantization='8bit' or None"),
            ({"dtype": "bfloat16"}, "dtype='bfloat16' was given"),
            ({"attn_implementation": "eager"}, "its own attention"),
            ({"trust_remote_code": True, "revision": "a" * 40}, "code from a checkpoint"),
        )
    ),
    ({"trust_remote_code": True, "model": "owner/name"}, "full commit"),
    ({"trust_remote_code": True, "model": "owner/name", "revision": "main"}, "full commit"),
    ({"trust_remote_code": True}, "starter"),
    ({"trust_remote_code": "yes"}, "trust_remote_code='yes'"),
    ({"local_files_only": 1}, "local_files_only=1"),
    ({"model": ""}, "names nothing"),
    ({"model": None}, "names nothing"),
    ({"model": "https://huggingface.co/owner/name"}, "hub id"),
    ({"model": "a/b/c"}, "./my-model"),
    ({"model": "owner/na me"}, "./my-model"),
    ({"model": "./here", "revision": "main"}, "local folder"),
    ({"revision": "main"}, "starter"),
    ({"model": "owner/name", "revision": ""}, "refs/pr/1"),
    ({"model": "owner/name", "revision": "../x"}, "refs/pr/1"),
]


@pytest.mark.parametrize(("given", "sentence"), ILLEGAL, ids=lambda value: str(value)[:60])
def test_illegal_combination_is_refused_by_spec_and_fields(
    given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        LoadSpec("encoder", **given)
    assert sentence in str(caught.value)
    with pytest.raises(ValidationError):
        LoadingFields(**given)


def test_refusal_takes_under_50_ms_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, time\n"
        "from langchain_xlm.models.config import LoadSpec, LoadingFields\n"
        "def refuse():\n"
        "    start = time.process_time()\n"
        "    for given in ({'device': 'cpu', 'device_map': 'auto'}, {'dtype': 'x'}):\n"
        "        for make in (lambda **g: LoadSpec('encoder', **g), LoadingFields):\n"
        "            try: make(**given)\n"
        "            except ValueError: continue\n"
        "            raise SystemExit('accepted')\n"
        "    return time.process_time() - start\n"
        "assert min(refuse() for _ in range(5)) < 0.05\n"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'accelerate'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_refusal_touches_no_file() -> None:
    """Under an audit hook, in a process of its own, since a hook can never be removed."""
    code = (
        "import sys\n"
        "import langchain_xlm.errors, pathlib\n"
        "from langchain_xlm.models.config import LoadSpec, LoadingFields\n"
        "from tests.models.test_config import ILLEGAL\n"
        "def make(given):\n"
        "    try: LoadSpec('encoder', **given)\n"
        "    except ValueError as error: return str(error)\n"
        "make(ILLEGAL[0][0])\n"  # what is imported at the first use
        "seen = []\n"
        "watched = ('open', 'os.listdir', 'os.scandir', 'socket.connect', 'subprocess.Popen')\n"
        "sys.addaudithook(lambda event, args: event in watched and seen.append((event, args)))\n"
        "messages = [make(given) for given, _ in ILLEGAL]\n"
        "assert not seen, seen\n"
        "assert len(set(messages)) >= 40 and None not in messages, messages\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("task", ["translate", None, ""])
def test_unknown_task_is_refused(task: Any) -> None:
    with pytest.raises(ConfigurationError, match="cross-encoder"):
        LoadSpec(task)


def test_starter_has_no_cross_encoder() -> None:
    with pytest.raises(ConfigurationError, match="bge-reranker"):
        LoadSpec("cross-encoder")
    assert LoadSpec("encoder").folder == LoadSpec("classifier").folder
    assert LoadSpec("seq2seq").folder != LoadSpec("encoder").folder


def test_equal_wishes_make_equal_specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import BitsAndBytesConfig

    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"dtype": "fp16"}, {"dtype": torch.float16}),
        ({"device": 1}, {"device": "cuda:1"}),
        ({"device": torch.device("cuda:1")}, {"device": "cuda:1"}),
        ({"device_map": {"b": 0, "a": 1}}, {"device_map": {"a": 1, "b": 0}}),
        (
            {"device_map": "auto", "max_memory": {0: "1.5GiB", "cpu": "2 GB"}},
            {"device_map": "auto", "max_memory": {"cpu": 2 * 10**9, 0: 3 * 2**29}},
        ),
        (
            {"quantization": BitsAndBytesConfig(load_in_8bit=True)},
            {"quantization": BitsAndBytesConfig(load_in_8bit=True)},
        ),
    ]
    for first, second in pairs:
        assert LoadSpec("encoder", **first) == LoadSpec("encoder", **second)
        assert hash(LoadSpec("encoder", **first)) == hash(LoadSpec("encoder", **second))
        fields = LoadingFields(**second).load_spec("encoder")
        assert fields == LoadSpec("encoder", **first)

    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    absolute = LoadSpec("encoder", str(tmp_path / "model"))
    for name in ("model", "./model", "model/", tmp_path / "model", Path("model")):
        assert LoadSpec("encoder", name) == absolute  # type: ignore[arg-type]
    # A name of a folder that is not there is a hub id.
    assert LoadSpec("encoder", "models").folder is None


def test_different_wishes_make_different_specs() -> None:
    specs = {
        LoadSpec("encoder", "owner/name", **given)
        for given in (
            {},
            {"revision": "v1"},
            {"dtype": "bfloat16"},
            {"quantization": "8bit"},
            {"quantization": {"load_in_8bit": True}},
            {"device": "cpu"},
            {"token": "a"},
            {"token": "b"},
        )
    }
    assert len(specs) == 8


def test_equal_models_are_shared_whatever_the_backend_where_there_is_no_choice() -> None:
    fields = LoadingFields(model="owner/name", backend="ctranslate2")
    assert fields.load_spec("seq2seq").backend == "ctranslate2"
    assert fields.load_spec("encoder").backend == "ctranslate2"
    assert fields.load_spec("classifier") == LoadSpec("classifier", "owner/name")
    plain = LoadingFields(model="owner/name", backend="torch")
    assert plain.load_spec("encoder") == LoadSpec("encoder", "owner/name")
    small = LoadingFields(model="owner/name", backend="torch", quantization="8bit")
    assert small.load_spec("encoder").backend == "torch", "auto may be another"
    assert LoadSpec("encoder", backend="ctranslate2").is_starter
    with pytest.raises(ConfigurationError, match="cannot run the bundled starter"):
        LoadSpec("seq2seq", backend="ctranslate2")


def test_token_is_never_shown() -> None:
    fields = LoadingFields(model="owner/name", token="hf_secret")
    spec = fields.load_spec("encoder")
    assert spec.token_value == "hf_secret"
    shown = [repr(fields), str(fields), repr(spec), str(spec), str(fields.model_dump())]
    shown.append(str(dataclasses.asdict(LoadSpec("encoder", "owner/name", token="hf_secret"))))
    for wrong in ({"device": "cpu", "device_map": "auto"}, {"devise": "cpu"}, {"dtype": "x"}):
        with pytest.raises(ValidationError) as caught:
            LoadingFields(token="hf_secret", model="owner/name", **wrong)
        shown += [str(caught.value), repr(caught.value)]
    assert not [text for text in shown if "hf_secret" in text]


def test_bitsandbytes_config_comes_through_whole() -> None:
    import json

    import torch
    from transformers import BitsAndBytesConfig

    given = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["classifier"],
    )
    kept = LoadSpec("encoder", quantization=given).quantization  # type: ignore[arg-type]
    assert kept is not None
    rebuilt = BitsAndBytesConfig(**json.loads(kept))
    assert rebuilt.to_dict() == given.to_dict()


def test_other_quantization_configs_are_refused() -> None:
    from transformers import GPTQConfig

    with pytest.raises(ConfigurationError, match="GPTQConfig"):
        LoadSpec("encoder", quantization=GPTQConfig(bits=4))  # type: ignore[arg-type]


def test_fields_load_another_model_the_same_way() -> None:
    fields = LoadingFields(model="owner/name", revision="v1", dtype="bf16", token="t")
    other = fields.load_spec("seq2seq", model="owner/other")
    assert (other.model, other.revision, other.dtype) == ("owner/other", None, "bfloat16")
    assert other.token_value == "t"
    assert other.task == "seq2seq"
    pinned = fields.load_spec("encoder", model="owner/other@v2")
    assert (pinned.model, pinned.revision) == ("owner/other", "v2")
    assert fields.load_spec("encoder", model="owner/name").revision == "v1"
    assert fields.load_spec("encoder", model="owner/name@v2").revision == "v2"


def test_fields_are_documented_and_closed() -> None:
    assert all(field.description for field in LoadingFields.model_fields.values())
    names = set(LoadingFields.model_fields)
    assert names == {name for name in LoadSpec.__dataclass_fields__ if name != "task"}
    with pytest.raises(ValidationError, match="devise"):
        LoadingFields(devise="cpu")


def test_caller_objects_stay_unchanged() -> None:
    places: dict[str, Any] = {"b": 0, "a": "cpu"}
    limits: dict[Any, Any] = {0: "1GiB"}
    LoadSpec("encoder", device_map=places)
    LoadSpec("encoder", device_map="auto", max_memory=limits)
    assert list(places.items()) == [("b", 0), ("a", "cpu")]
    assert limits == {0: "1GiB"}


def test_spec_survives_pickling() -> None:
    spec = LoadSpec("seq2seq", "owner/name", device_map={"": 0}, token="t")
    assert pickle.loads(pickle.dumps(spec)) == spec
