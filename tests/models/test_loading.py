"""Every family through the one loader, against stock transformers; every damage named."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from langchain_xlm.errors import (
    IncompatibleModelError,
    MissingDependencyError,
    ModelLoadError,
    ModelNotFoundError,
)
from langchain_xlm.models.config import LoadSpec, Task
from langchain_xlm.models.loading import LoadedModel, load_model
from tests.tiny import KINDS, tiny_checkpoint

Checkpoints = Callable[..., Path]

SEQ2SEQ = ("encoder-decoder", "m2m100", "nllb", "mbart50", "mt5", "marian", "marian-pair")
TASKS: dict[str, Task] = {
    **dict.fromkeys(KINDS, "encoder"),
    **dict.fromkeys(SEQ2SEQ, "seq2seq"),
    "xlm-classifier": "classifier",
    "xlm-roberta-classifier": "classifier",
    "xlm-roberta-cross-encoder": "cross-encoder",
}
SENTENCE = "The weather is nice today."


def load(folder: Path, task: Task = "encoder", **options: Any) -> LoadedModel:
    return load_model(LoadSpec(task, str(folder), **options))


@pytest.fixture
def copy(checkpoints: Checkpoints, tmp_path: Path) -> Checkpoints:
    """A checkpoint of one's own, to be damaged."""

    def copied(kind: str, **options: Any) -> Path:
        return Path(shutil.copytree(checkpoints(kind, **options), tmp_path / kind))

    return copied


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    settings = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))


def set_tokenizer_limit(folder: Path, tokens: int | None) -> None:
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings.pop("model_max_length", None)
    path.write_text(json.dumps(settings | ({"model_max_length": tokens} if tokens else {})))


def run(model: Any, tokenizer: Any) -> Any:
    import torch

    inputs = tokenizer([SENTENCE, "Wo?"], padding=True, return_tensors="pt")
    inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.tensor([[2, 5, 6], [2, 7, 8]])
    with torch.no_grad():
        return model(**inputs)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_stock_transformers(kind: str, checkpoints: Checkpoints) -> None:
    import torch
    import transformers

    folder = checkpoints(kind)
    loaded = load(folder, TASKS[kind])
    stock_class = {
        "encoder": transformers.AutoModel,
        "seq2seq": transformers.AutoModelForSeq2SeqLM,
    }.get(TASKS[kind], transformers.AutoModelForSequenceClassification)
    stock = stock_class.from_pretrained(folder)
    if kind == "xmod":
        stock.set_default_language("en_XX")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert torch.equal(run(loaded.model, loaded.tokenizer), run(stock, tokenizer))
    assert not loaded.model.training
    assert not any(weight.requires_grad for weight in loaded.model.parameters())
    assert loaded.config is loaded.model.config
    assert (loaded.device.type, loaded.revision) == ("cpu", None)


@pytest.mark.parametrize(
    ("kind", "tag", "token", "count"),
    [
        ("m2m100", "fr", "__fr__", 100),
        ("nllb", "fr", "fra_Latn", 202),
        ("mbart50", "fr", "fr_XX", 52),
        ("marian", "fr", ">>fra<<", 6),
        ("encoder-decoder", "fr", "__fr__", 8),
    ],
)
def test_languages_come_from_the_vocabulary(
    kind: str, tag: str, token: str, count: int, checkpoints: Checkpoints
) -> None:
    loaded = load(checkpoints(kind), "seq2seq")
    assert loaded.languages is not None
    language, found = loaded.languages.resolve("French")
    assert (language.tag, found) == (tag, token)
    assert len(loaded.language_tokens) == count
    ids = loaded.tokenizer.convert_tokens_to_ids(list(loaded.language_tokens))
    assert loaded.tokenizer.unk_token_id not in ids
    assert loaded.fixed_target is None


def test_one_pair_of_languages_is_told(checkpoints: Checkpoints) -> None:
    pair = load(checkpoints("marian-pair"), "seq2seq")
    assert (pair.fixed_source, pair.fixed_target, pair.languages) == ("en", "de", None)
    many = load(checkpoints("marian"), "seq2seq")
    assert (many.fixed_source, many.fixed_target) == ("en", None)
    prompted = load(checkpoints("mt5"), "seq2seq")
    assert (prompted.fixed_source, prompted.fixed_target, prompted.languages) == (None,) * 3


def test_groups_of_languages_are_not_one_language(copy: Checkpoints) -> None:
    folder = copy("marian-pair")
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    for group in ("ROMANCE", "roa", "mul"):
        path.write_text(json.dumps(settings | {"source_lang": group}))
        loaded = load(folder, "seq2seq")
        assert (loaded.fixed_source, loaded.fixed_target) == (None, "de")


@pytest.mark.parametrize(
    ("kind", "options", "window"),
    [
        ("xlm-roberta", {"window": 40}, 40),  # two rows of the position table are not for tokens
        ("xmod", {"window": 40}, 40),
        ("xlm-roberta-xl", {"window": 40}, 40),
        ("bert", {"window": 40}, 40),
        ("xlm", {"window": 40}, 40),
        ("encoder-decoder", {"window": 40}, 40),
        ("marian", {"window": 40}, 40),
        ("nllb", {}, 1024),
        ("m2m100", {}, 1024),
        ("mbart50", {}, 1024),
        ("mt5", {}, 512),  # no positions, and a tokenizer without a limit
    ],
)
def test_window(kind: str, options: dict[str, int], window: int, copy: Checkpoints) -> None:
    import torch

    folder = copy(kind, **options)
    set_tokenizer_limit(folder, None)  # what is left are the positions
    loaded = load(folder, TASKS[kind])
    assert loaded.window == window
    if TASKS[kind] == "encoder":
        # A text as long as the window runs, one token more does not.
        ids = torch.full((1, window), 7)
        assert loaded.model(input_ids=ids)[0].shape[1] == window
        with pytest.raises((IndexError, RuntimeError)):
            loaded.model(input_ids=torch.full((1, window + 1), 7))


def test_tokenizer_limit_wins_where_smaller(copy: Checkpoints) -> None:
    folder = copy("xlm-roberta")
    set_tokenizer_limit(folder, 24)
    assert load(folder).window == 24


def test_pooler_is_never_there(checkpoints: Checkpoints) -> None:
    for kind in ("xlm-roberta", "bert", "xlm-roberta-xl", "xmod"):
        for pooler in (True, False):
            loaded = load(checkpoints(kind, pooler=pooler))
            assert not [name for name in loaded.model.state_dict() if "pooler" in name]


def test_trunk_of_a_classifier_is_an_encoder(checkpoints: Checkpoints) -> None:
    import torch

    folder = checkpoints("xlm-roberta-classifier")
    encoder, classifier = load(folder), load(folder, "classifier")
    inputs = encoder.tokenizer(SENTENCE, return_tensors="pt")
    states = encoder.model(**inputs)[0]
    assert torch.equal(states, classifier.model.roberta(**inputs)[0])


def test_auto_means_float32_on_cpu_whatever_was_saved(copy: Checkpoints) -> None:
    import torch
    from transformers import AutoModel

    folder = copy("xlm-roberta")
    AutoModel.from_pretrained(folder, add_pooling_layer=False).to(torch.bfloat16).save_pretrained(
        folder
    )
    assert load(folder).model.dtype is torch.float32
    assert load(folder, dtype="bfloat16").model.dtype is torch.bfloat16


def test_attention_implementation_reaches_the_model(checkpoints: Checkpoints) -> None:
    loaded = load(checkpoints("xlm-roberta"), attn_implementation="eager")
    assert loaded.model.config._attn_implementation == "eager"


def test_xmod_runs_in_the_language_of_its_config(
    checkpoints: Checkpoints, caplog: pytest.LogCaptureFixture
) -> None:
    import torch
    import transformers

    german = load(checkpoints("xmod", default_language="de_DE"))
    assert not caplog.records
    english = load(checkpoints("xmod"))
    assert "adapters of en_XX" in caplog.text
    stock = transformers.AutoModel.from_pretrained(checkpoints("xmod"), add_pooling_layer=False)
    for language, loaded in (("de_DE", german), ("en_XX", english)):
        stock.set_default_language(language)
        assert torch.equal(run(loaded.model, loaded.tokenizer), run(stock, loaded.tokenizer))
    assert not torch.equal(
        run(german.model, german.tokenizer), run(english.model, english.tokenizer)
    )


# ------------------------------------------------------------------ what cannot be loaded


@pytest.mark.parametrize(
    ("kind", "task", "found"),
    [
        ("xlm-roberta", "classifier", "XLMRobertaModel, which has no classification head"),
        ("xlm-roberta", "cross-encoder", "no classification head"),
        ("xlm", "classifier", "XLMModel, which has no classification head"),
        ("xlm-roberta-classifier", "cross-encoder", "3 classes"),
        ("xlm-roberta-cross-encoder", "classifier", "one score"),
        ("xlm-roberta", "seq2seq", "model of XLM-RoBERTa"),
        ("mt5", "encoder", "model of mT5"),
        ("nllb", "encoder", "model of NLLB or M2M100"),
        ("encoder-decoder", "classifier", "model of encoder-decoder"),
    ],
)
def test_wrong_task_is_refused(kind: str, task: Task, found: str, checkpoints: Checkpoints) -> None:
    with pytest.raises(IncompatibleModelError) as caught:
        load(checkpoints(kind), task)
    assert found in str(caught.value)


def test_head_without_weights_is_refused(copy: Checkpoints) -> None:
    folder = copy("xlm-roberta")
    edit_config(folder, architectures=["XLMRobertaForSequenceClassification"])
    with pytest.raises(IncompatibleModelError, match=r"no weights for the head \(classifier"):
        load(folder, "classifier")
    edit_config(folder, architectures=None)
    with pytest.raises(IncompatibleModelError, match="no weights for the head"):
        load(folder, "classifier")


@pytest.mark.parametrize(("kind", "task"), [("xlm-roberta", "encoder"), ("nllb", "seq2seq")])
def test_missing_weights_are_never_made_up(kind: str, task: Task, copy: Checkpoints) -> None:
    from safetensors.torch import load_file, save_file

    folder = copy(kind)
    weights = load_file(folder / "model.safetensors")
    dropped = next(name for name in weights if name.endswith("fc1.weight") or ".query." in name)
    del weights[dropped]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IncompatibleModelError, match="lack 1 weights") as caught:
        load(folder, task)
    assert dropped.removeprefix("roberta.") in str(caught.value)
    edit_config(folder, auto_map={"AutoModel": "own.Model"})
    with pytest.raises(IncompatibleModelError, match="trust_remote_code"):
        load(folder, task)


def test_weights_of_another_shape_are_refused(copy: Checkpoints) -> None:
    folder = copy("xlm-roberta")
    edit_config(folder, intermediate_size=96)
    with pytest.raises(IncompatibleModelError, match=r"of shape \(\d+.* asks for"):
        load(folder)


def test_tokenizer_of_another_model_is_refused(copy: Checkpoints, checkpoints: Checkpoints) -> None:
    folder = copy("xlm-roberta")
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["vocab"] += [[f"piece{n}", -9.0] for n in range(100)]
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(IncompatibleModelError, match="do not belong together"):
        load(folder)


def test_truncated_weights_are_named(copy: Checkpoints) -> None:
    folder = copy("xlm-roberta")
    path = folder / "model.safetensors"
    for kept in (0.5, 0.0):
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
        with pytest.raises(ModelLoadError, match="damaged") as caught:
            load(folder)
        assert "weights could not be read" in str(caught.value)
        assert caught.value.__cause__ is not None


def test_missing_shard_is_named(copy: Checkpoints) -> None:
    folder = copy("xlm-roberta")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"metadata": {}, "weight_map": {"x": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelLoadError, match="weights could not be read"):
        load(folder)


def test_pickles_are_never_read(copy: Checkpoints) -> None:
    import torch

    folder = copy("xlm-roberta")
    touched = folder / "touched"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (touched.write_text, ("x",))

    torch.save({"x": Trap()}, folder / "pytorch_model.bin")
    assert load(folder).window == 128  # safetensors are there, so the other file is left alone
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelLoadError) as caught:
        load(folder)
    assert "pytorch_model.bin" in str(caught.value)
    assert "save_pretrained" in str(caught.value)
    assert not touched.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_missing_file_is_named(name: str, copy: Checkpoints) -> None:
    folder = copy("xlm-roberta")
    (folder / name).unlink()
    with pytest.raises(ModelNotFoundError, match=re.escape(name.partition(".")[0])):
        load(folder)


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00", '"text"'])
def test_damaged_config_is_named(content: str, copy: Checkpoints) -> None:
    folder = copy("xlm-roberta")
    (folder / "config.json").write_text(content)
    with pytest.raises(ModelLoadError, match=r"config\.json"):
        load(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_damaged_tokenizer_is_named(name: str, copy: Checkpoints) -> None:
    folder = copy("xlm-roberta")
    (folder / name).write_text('{"model": {}}' if name == "tokenizer.json" else "{")
    with pytest.raises(ModelLoadError, match="tokenizer could not be read"):
        load(folder)


@pytest.mark.parametrize("model_type", ["gpt2", None, "no-such-type"])
def test_model_outside_the_family_is_refused(model_type: str | None, copy: Checkpoints) -> None:
    folder = copy("xlm-roberta")
    edit_config(folder, model_type=model_type)
    with pytest.raises(IncompatibleModelError, match=f"model_type is {model_type!r}"):
        load(folder)


def test_encoder_decoder_of_other_parts_is_refused(copy: Checkpoints) -> None:
    folder = copy("encoder-decoder")
    settings = json.loads((folder / "config.json").read_text())
    edit_config(folder, encoder=settings["encoder"] | {"model_type": "gpt2"})
    with pytest.raises(IncompatibleModelError, match="its encoder is a 'gpt2' model"):
        load(folder, "seq2seq")


def test_pretrained_only_checkpoint_is_refused_by_name(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    from langchain_xlm.models import checks

    folder = str(checkpoints("mt5"))
    monkeypatch.setattr(checks, "PRETRAINED_ONLY", frozenset({folder}))
    with pytest.raises(IncompatibleModelError, match="writes noise"):
        load_model(LoadSpec("seq2seq", folder))


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no folder .*nowhere"):
        load(tmp_path / "nowhere")


def test_missing_package_is_named(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "sacremoses" else found(name)
    )
    with pytest.raises(MissingDependencyError, match="pip install 'sacremoses'"):
        load(checkpoints("xlm"))


# ------------------------------------------------------------------ manners


def test_loading_is_silent_and_leaves_no_trace(
    checkpoints: Checkpoints, capfd: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub.utils import are_progress_bars_disabled
    from transformers.utils import logging as hf_logging

    def state() -> tuple[Any, ...]:
        hook = hf_logging.set_tqdm_hook(None)
        hf_logging.set_tqdm_hook(hook)
        return (
            hf_logging.get_verbosity(),
            hf_logging.is_progress_bar_enabled(),
            are_progress_bars_disabled(),
            hook,
        )

    folder = checkpoints("xlm-roberta-classifier")  # unused weights, which are reported
    before = state()
    capfd.readouterr()
    load(folder)
    load(folder, quantization="4bit")
    assert capfd.readouterr() == ("", "")
    assert state() == before
    with pytest.raises(ModelLoadError):
        load(folder.parent / "nowhere")
    assert state() == before
    hf_logging.set_verbosity_info()
    try:
        load(folder)
        assert hf_logging.get_verbosity() == logging.INFO
    finally:
        hf_logging.set_verbosity(before[0])


def test_threads_load_at_once(checkpoints: Checkpoints) -> None:
    import torch
    from transformers.utils import logging as hf_logging

    before = hf_logging.get_verbosity()
    kinds = ["xlm-roberta", "nllb", "xlm", "xlm-roberta", "marian", "mbart50"]
    folders = [checkpoints(kind) for kind in kinds]
    with ThreadPoolExecutor(len(kinds)) as threads:
        loaded = list(threads.map(load, folders, [TASKS[kind] for kind in kinds]))
    assert [one.spec.model for one in loaded] == [str(folder) for folder in folders]
    for one, folder, kind in zip(loaded, folders, kinds, strict=True):
        alone = load(folder, TASKS[kind])
        assert torch.equal(run(one.model, one.tokenizer), run(alone.model, alone.tokenizer))
    assert hf_logging.get_verbosity() == before


def test_starter_says_once_where_it_ends(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from langchain_xlm.models import loading

    folders = {
        "encoder": checkpoints("xlm-roberta-classifier"),
        "classifier": checkpoints("xlm-roberta-classifier"),
        "seq2seq": checkpoints("encoder-decoder"),
    }
    monkeypatch.setattr(loading, "_noted", [])
    monkeypatch.setattr(LoadSpec, "folder", property(lambda spec: folders[spec.task]))
    revisions = {load_model(LoadSpec(task)).revision for task in ("encoder", "classifier")}
    assert load_model(LoadSpec("seq2seq")).revision in revisions
    assert len(revisions) == 1
    assert None not in revisions
    notes = [record for record in caplog.records if "bundled starter" in record.message]
    assert [(note.name, note.levelname) for note in notes] == [("langchain_xlm", "WARNING")]
    assert "facebook/nllb-200-distilled-600M" in notes[0].message


def test_tiny_checkpoints_are_seeded(tmp_path: Path) -> None:
    first = tiny_checkpoint("nllb", tmp_path / "a", seed=1)
    again = tiny_checkpoint("nllb", tmp_path / "b", seed=1)
    other = tiny_checkpoint("nllb", tmp_path / "c", seed=2)
    bytes_of = [(folder / "model.safetensors").read_bytes() for folder in (first, again, other)]
    assert bytes_of[0] == bytes_of[1] != bytes_of[2]
    tokenizers = [(folder / "tokenizer.json").read_bytes() for folder in (first, again, other)]
    assert tokenizers[0] == tokenizers[1] == tokenizers[2]
