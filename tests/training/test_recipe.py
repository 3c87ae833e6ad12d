"""The recipe runs as a whole, and its parts do what they say."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from training.recipe import DEFAULT_PATH, read_recipe

ROOT = Path(__file__).parent.parent.parent


def test_recipe_reads_with_and_without_the_smoke_overrides() -> None:
    full, smoke = read_recipe(), read_recipe(smoke=True)
    assert smoke.encoder.minutes < full.encoder.minutes
    assert smoke.encoder.layers == full.encoder.layers


def test_recipe_with_an_unknown_value_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    text = DEFAULT_PATH.read_text(encoding="utf-8")
    path.write_text(text.replace("[teacher]", "[teacher]\nwindow = 3"), encoding="utf-8")
    with pytest.raises(ValueError, match="window"):
        read_recipe(path)


def test_batches_hold_every_example_once_and_keep_to_the_budget() -> None:
    pytest.importorskip("tokenizers")
    from training.batches import by_length

    chooser = random.Random(3)
    lengths = iter([chooser.randrange(1, 40) for _ in range(100_000)])
    batches = by_length(lambda: next(lengths), lambda item: item, 200, random.Random(5))
    for _ in range(100):
        batch = next(batches)
        assert batch
        assert max(batch) * len(batch) <= 200


def test_names_and_numbers_change_on_both_sides_alike() -> None:
    if importlib.util.find_spec("sacrebleu") is None:
        pytest.skip("the training extra is not installed: sacrebleu is missing")
    from training.translation import renamed

    source, target = renamed("Tom has 24 hens.", "Tom hat 24 Hennen.", random.Random(1))
    assert "Tom" not in source
    assert "24" not in source
    assert source.split()[0] == target.split()[0]
    assert source.split()[2] == target.split()[2]
    unlike = ("Tom left at 10.", "Er ging um zehn.")
    assert renamed(*unlike, random.Random(1)) == unlike


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_whole_recipe_yields_checkpoints_that_load(data: Path, tmp_path: Path) -> None:
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "training", "smoke", "--data", str(data), "--work", str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    from transformers import AutoModel, AutoModelForSeq2SeqLM, AutoTokenizer

    made = tmp_path / "smoke" / "checkpoints"
    for kind, name in ((AutoModel, "encoder"), (AutoModelForSeq2SeqLM, "translation")):
        model = kind.from_pretrained(made / name)
        tokenizer = AutoTokenizer.from_pretrained(made / name)
        assert len(tokenizer) == model.get_input_embeddings().num_embeddings
    assert (tmp_path / "smoke" / "curves" / "encoder.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_training_goes_on_from_exported_checkpoints(
    data: Path, starter: Path, tmp_path: Path
) -> None:
    import torch
    from tokenizers import Tokenizer

    from training import export, translation
    from training.corpus import read_corpus

    recipe = read_recipe(smoke=True)
    short = dataclasses.replace(recipe.translation, minutes=0.05, rate=1e-4, encoder_rate=1e-4)
    corpus = read_corpus(data, recipe.corpus)
    corpus = dataclasses.replace(
        corpus, dev={language: pairs[:3] for language, pairs in corpus.dev.items()}
    )
    begin = export.read_translation(starter / "translation")
    before = begin.encoder.embeddings.word_embeddings.weight.detach().clone()
    student = export.read_encoder(starter / "encoder")
    tokenizer = Tokenizer.from_file(str(starter / "translation" / "tokenizer.json"))

    device = torch.device("cpu")
    assert not export.is_finished(tmp_path, "translation")
    translation.run(corpus, student, tokenizer, tmp_path, short, device, begin)
    assert export.is_finished(tmp_path, "translation")

    model = export.load_translation(tmp_path, student, short)
    after = model.encoder.embeddings.word_embeddings.weight
    assert not torch.equal(before, after)
    # How many steps fit into the time is up to the machine, so the wording is not fixed.
    assert (after - before).norm() < 0.1 * before.norm()
    (written,) = translation.translate(model, tokenizer, ["I am hungry."], "de")
    assert written.startswith("Ich ")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_encoder_goes_on_from_an_exported_one(
    data: Path, starter: Path, tmp_path: Path
) -> None:
    import torch
    from tokenizers import Tokenizer

    from training import encoder, export
    from training.corpus import read_corpus, read_sentiment

    recipe = read_recipe(smoke=True)
    short = dataclasses.replace(recipe.encoder, minutes=0.05, vocabulary_rate=1e-4, trunk_rate=1e-5)
    corpus = read_corpus(data, recipe.corpus)
    corpus = dataclasses.replace(
        corpus, dev={language: pairs[:5] for language, pairs in corpus.dev.items()}
    )
    sentiment, _ = read_sentiment(data, recipe.corpus)
    begin = export.read_encoder(starter / "encoder")
    tokenizer = Tokenizer.from_file(str(starter / "encoder" / "tokenizer.json"))
    width = begin.config.hidden_size
    vectors = torch.randn(len(corpus.english), width, generator=torch.Generator().manual_seed(2))
    vectors = torch.nn.functional.normalize(vectors, dim=-1).bfloat16()
    before = {name: value.detach().clone() for name, value in begin.named_parameters()}
    device = torch.device("cpu")
    encoder.run(corpus, sentiment, tokenizer, vectors, tmp_path, short, device, begin)

    after = dict(export.load_encoder(tmp_path).named_parameters())
    name = "roberta.embeddings.word_embeddings.weight"
    assert not torch.equal(after[name], before[name])
    # A few small steps away from where it began, and no further.
    assert torch.nn.functional.cosine_similarity(after[name], before[name]).min() > 0.9
    assert (tmp_path / "encoder" / "last.pt").exists()


def test_runs_are_averaged(starter: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    from training import encoder, export

    begin = export.read_encoder(starter / "encoder")
    start = {name: value.detach().clone() for name, value in begin.named_parameters()}
    for run, factor in (("a", 1.0), ("b", 3.0)):
        folder = tmp_path / run / "encoder"
        folder.mkdir(parents=True)
        torch.save(begin, folder / "start.pt")
        torch.save({name: factor * value for name, value in start.items()}, folder / "last.pt")
    encoder.average_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "mean")
    assert export.is_finished(tmp_path / "mean", "encoder")
    for name, value in export.load_encoder(tmp_path / "mean").named_parameters():
        assert torch.allclose(value, 2.0 * start[name])


def test_pairs_are_contrasted_with_earlier_ones_but_not_with_paraphrases() -> None:
    torch = pytest.importorskip("torch")
    from torch.nn.functional import cross_entropy, normalize

    from training.encoder import Bank, Memory

    generator = torch.Generator().manual_seed(1)

    def unit(count: int) -> torch.Tensor:
        return normalize(torch.randn(count, 16, generator=generator), dim=-1)

    recipe = dataclasses.replace(
        read_recipe(smoke=True).encoder, duplicate_cosine=0.95, neighbour_pool=8, bank_neighbours=1
    )
    teacher = unit(40)
    teacher[3] = teacher[0]  # the same said twice
    bank = Bank(teacher, recipe, torch.device("cpu"))
    memory = Memory(4, 16, torch.device("cpu"))
    early, late = (unit(3), unit(3)), (unit(2), unit(2))
    memory.contrast(*early, torch.tensor([0, 1, 2]), bank, 0.1)
    found = memory.contrast(*late, torch.tensor([3, 4]), bank, 0.1)
    wanted = 0.0
    for mine, theirs, kept in ((late[0], late[1], early[1]), (late[1], late[0], early[0])):
        scores = mine @ torch.cat([theirs, kept]).T / 0.1
        scores[0, 2] = -torch.inf  # text 3 is text 0
        wanted += float(cross_entropy(scores, torch.arange(2))) / 2
    assert float(found) == pytest.approx(wanted, rel=1e-5)
    # Of the five pairs seen, the oldest has left: a contrast with itself would now find it.
    again = memory.contrast(*late, torch.tensor([30, 31]), bank, 0.1)
    kept_left = torch.cat([late[0], early[0][:2]])
    kept_right = torch.cat([late[1], early[1][:2]])
    scores = (
        late[0] @ torch.cat([late[1], kept_right]).T / 0.1,
        late[1] @ torch.cat([late[0], kept_left]).T / 0.1,
    )
    wanted = sum(float(cross_entropy(each, torch.arange(2))) for each in scores) / 2
    assert float(again) == pytest.approx(wanted, rel=1e-5)
