"""The finished checkpoints measured, through stock loaders, on data never trained on."""

from __future__ import annotations

import csv
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sacrebleu
import torch
from tokenizers import Tokenizer
from transformers import (
    AutoModel,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BitsAndBytesConfig,
    PreTrainedModel,
)

from training.batches import PAD, EncodedTexts, pad
from training.corpus import LABELS, TRANSLATED, Labelled, read_sentiment
from training.progress import log
from training.recipe import Recipe
from training.teacher import mean_pool
from training.translation import translate

THREE_LETTERS = {
    "de": "deu",
    "fr": "fra",
    "es": "spa",
    "nl": "nld",
    "ja": "jpn",
    "tr": "tur",
    "zh": "cmn",
}
ALSO_RETRIEVED = (
    "ara",
    "vie",
    "kor",
    "hin",
    "rus",
    "por",
    "ita",
    "ind",
    "pol",
    "ukr",
    "swe",
    "tgl",
)
EUROPEAN = ("de", "fr", "es", "nl")
PUD = ("de", "es", "fr", "zh", "tr")
QUANTIZATIONS = ("none", "8bit", "4bit")

# What a new process does for its first translation; prints seconds after the imports.
FIRST_TRANSLATION = """
import time, torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
from transformers import EncoderDecoderModel, XLMRobertaForCausalLM, XLMRobertaModel
from transformers import PreTrainedTokenizerFast
torch.set_num_threads({threads})
started = time.perf_counter()
tokenizer = AutoTokenizer.from_pretrained({folder!r})
model = AutoModelForSeq2SeqLM.from_pretrained({folder!r})
batch = tokenizer("The weather is nice today.", return_tensors="pt")
model.generate(**batch, forced_bos_token_id=tokenizer.convert_tokens_to_ids("__de__"))
print(time.perf_counter() - started)
"""


def _load(kind: Any, folder: Path, quantization: str) -> PreTrainedModel:
    """Load a checkpoint, quantized where asked."""
    if quantization == "none":
        return kind.from_pretrained(folder).eval()
    # The CPU kernels for 4 bit refuse a layer of three outputs; small heads stay as they are.
    config = BitsAndBytesConfig(
        **{f"load_in_{quantization}": True}, llm_int8_skip_modules=["classifier", "decoder.lm_head"]
    )
    return kind.from_pretrained(folder, quantization_config=config).eval()


def _lines(path: Path) -> list[str]:
    """Read a file's lines."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def spearman(left: np.ndarray, right: np.ndarray) -> float:
    """Correlate the ranks of two rows of numbers; equal numbers share their mean rank."""
    ranks = []
    for values in (left, right):
        _, place, count = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(count) - (count - 1) / 2)[place])
    return float(np.corrcoef(*ranks)[0, 1])


def macro_f1(gold: np.ndarray, answers: np.ndarray) -> float:
    """Average the F1 of the classes that `gold` has, in per cent."""
    scores = []
    for label in np.unique(gold):
        right = np.sum((gold == label) & (answers == label))
        scores.append(2 * right / (np.sum(gold == label) + np.sum(answers == label)))
    return 100.0 * float(np.mean(scores))


class Evaluation:
    """The starter checkpoints under test."""

    def __init__(
        self, data: Path, checkpoints: Path, recipe: Recipe, *, quantization: str, sentences: int
    ) -> None:
        """Say what is measured.

        Args:
            data: The data folder, with `eval` and `train` inside.
            checkpoints: The folder with `encoder` and `translation`.
            recipe: Windows and search.
            quantization: One of `QUANTIZATIONS`.
            sentences: At most so many per set and direction; 0 for all.
        """
        self.data, self.checkpoints, self.recipe = data, checkpoints, recipe
        self.quantization, self.sentences = quantization, sentences
        self.tokenizer = Tokenizer.from_file(str(checkpoints / "encoder" / "tokenizer.json"))
        self._models: dict[Any, PreTrainedModel] = {}

    def _model(self, kind: Any, name: str) -> PreTrainedModel:
        """Load a checkpoint once."""
        if kind not in self._models:
            self._models[kind] = _load(kind, self.checkpoints / name, self.quantization)
        return self._models[kind]

    def _cut(self, lines: list[str]) -> list[str]:
        """Keep as many lines as are measured."""
        return lines[: self.sentences] if self.sentences else lines

    @torch.inference_mode()
    def _in_batches(
        self, texts: list[str], compute: Callable[[torch.Tensor], torch.Tensor], max_tokens: int
    ) -> torch.Tensor:
        """Compute something of every text, with texts of like length together."""
        encoded = EncodedTexts(self.tokenizer, texts, max_tokens)
        order = sorted(range(len(texts)), key=lambda i: len(encoded[i]))
        results: list[torch.Tensor] = []
        for first in range(0, len(order), 64):
            part = [encoded[i] for i in order[first : first + 64]]
            results.append(compute(pad(part, torch.device("cpu"))).float())
        together = torch.cat(results)
        return together[torch.tensor(order).argsort()]

    def embed(self, texts: list[str]) -> torch.Tensor:
        """Give unit vectors of texts, `(texts, width)`."""
        model = self._model(AutoModel, "encoder")

        def compute(tokens: torch.Tensor) -> torch.Tensor:
            mask = (tokens != PAD).long()
            return mean_pool(model(input_ids=tokens, attention_mask=mask).last_hidden_state, mask)

        return self._in_batches(texts, compute, self.recipe.encoder.positions - 2)

    def probabilities(self, texts: list[str]) -> torch.Tensor:
        """Give the probability of every polarity, `(texts, labels)`."""
        model = self._model(AutoModelForSequenceClassification, "encoder")

        def compute(tokens: torch.Tensor) -> torch.Tensor:
            mask = (tokens != PAD).long()
            return model(input_ids=tokens, attention_mask=mask).logits.softmax(-1)

        return self._in_batches(texts, compute, self.recipe.encoder.positions - 2)

    def _accuracy(self, left: list[str], right: list[str]) -> float:
        """Measure retrieval in per cent, mean of both directions."""
        scores = self.embed(left) @ self.embed(right).T
        truth = torch.arange(len(scores))
        there = (scores.argmax(1) == truth).float().mean()
        back = (scores.argmax(0) == truth).float().mean()
        return 50.0 * float(there + back)

    def retrieval(self) -> dict[str, float]:
        """Tatoeba retrieval: per cent, mean of both directions."""
        figures = {}
        folder = self.data / "eval" / "tatoeba"
        for name in (*THREE_LETTERS.values(), *ALSO_RETRIEVED):
            stem = f"tatoeba.{name}-eng"
            if (folder / f"{stem}.{name}").exists():
                other, english = _lines(folder / f"{stem}.{name}"), _lines(folder / f"{stem}.eng")
                figures[name] = self._accuracy(other, english)
        figures["mean of seven"] = statistics.fmean(figures[n] for n in THREE_LETTERS.values())
        return figures

    def pud(self) -> dict[str, float]:
        """PUD retrieval: per cent, mean of both directions with English."""
        folder = self.data / "eval" / "pud"
        english = _lines(folder / "pud.en")
        figures = {name: self._accuracy(_lines(folder / f"pud.{name}"), english) for name in PUD}
        figures["mean"] = statistics.fmean(figures.values())
        return figures

    def jsts(self) -> dict[str, float]:
        """Japanese sentence similarity: Spearman's correlation times 100."""
        with (self.data / "eval/jsts/test.tsv").open(encoding="utf-8") as lines:
            rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
        rows = rows[: self.recipe.evaluate.rows or None]
        left, right = self.embed([row[1] for row in rows]), self.embed([row[2] for row in rows])
        gold = [float(row[0]) for row in rows]
        return {"spearman": 100.0 * spearman((left * right).sum(1).numpy(), np.array(gold))}

    def _chrf(self, source: list[str], target: list[str], code: str) -> float:
        """Translate and score with chrF++."""
        model = self._model(AutoModelForSeq2SeqLM, "translation")
        output = translate(
            model,
            self.tokenizer,
            self._cut(source),
            code,
            beams=self.recipe.translation.beams,
            max_tokens=self.recipe.translation.max_tokens,
            length_penalty=self.recipe.translation.length_penalty,
        )
        return float(sacrebleu.corpus_chrf(output, [self._cut(target)], word_order=2).score)

    def translation(self) -> dict[str, float]:
        """Translation of eval/tatoeba: chrF++ in every direction with English."""
        figures = {}
        folder = self.data / "eval" / "tatoeba"
        for code, name in THREE_LETTERS.items():
            other, english = (
                _lines(folder / f"tatoeba.{name}-eng.{side}") for side in (name, "eng")
            )
            figures[f"{code}-en"] = self._chrf(other, english, "en")
            figures[f"en-{code}"] = self._chrf(english, other, code)
            log("evaluate", **{k: v for k, v in figures.items() if code in k})
        figures["mean of both directions, de fr es nl"] = statistics.fmean(
            figures[pair] for code in EUROPEAN for pair in (f"{code}-en", f"en-{code}")
        )
        figures["mean into English, ja tr zh"] = statistics.fmean(
            figures[f"{code}-en"] for code in ("ja", "tr", "zh")
        )
        return figures

    def ntrex(self) -> dict[str, float]:
        """Translation of news: chrF++ in every direction with English."""
        folder = self.data / "eval" / "ntrex"
        names = THREE_LETTERS | {"zh": "zho-CN", "en": "eng-US"}
        texts = {
            code: _lines(folder / f"newstest2019-ref.{name}.txt") for code, name in names.items()
        }
        figures = {}
        for code in TRANSLATED:
            figures[f"{code}-en"] = self._chrf(texts[code], texts["en"], "en")
            figures[f"en-{code}"] = self._chrf(texts["en"], texts[code], code)
            log("evaluate", **{k: v for k, v in figures.items() if code in k})
        return figures

    def _macro_f1(self, texts: list[Labelled]) -> tuple[float, float]:
        """Measure macro-F1 over the classes that the texts have.

        Returns:
            The figure when the model may answer with any class, and when it may only answer
            with the classes that the source has; they are equal for three classes.
        """
        found = self.probabilities([text.text for text in texts]).numpy()
        gold = np.array([text.label for text in texts])
        present = sorted(set(gold.tolist()))
        restricted = np.array(present)[found[:, present].argmax(1)]
        return macro_f1(gold, found.argmax(1)), macro_f1(gold, restricted)

    def sentiment(self) -> dict[str, float]:
        """Sentiment on the held-out tenth of every training source: macro-F1 in per cent."""
        _, held_out = read_sentiment(self.data, self.recipe.corpus)
        figures, restricted = {}, {}
        for source, texts in held_out.items():
            if texts:
                figures[source], restricted[source] = self._macro_f1(texts)
        three = [s for s, texts in held_out.items() if len({text.label for text in texts}) == 3]
        two = [source for source in figures if source not in three]
        figures["mean of all sources, any class may be answered"] = statistics.fmean(
            figures[s] for s in restricted
        )
        figures["mean of all sources, only classes the source has"] = statistics.fmean(
            restricted.values()
        )
        figures["mean of sources with three classes"] = statistics.fmean(figures[s] for s in three)
        if two:
            figures["mean of sources with two classes, only these two"] = statistics.fmean(
                restricted[s] for s in two
            )
        return figures

    def nusax(self) -> dict[str, float]:
        """NusaX: macro-F1 over three classes in per cent."""
        figures = {}
        for language in ("english", "indonesian"):
            path = self.data / "eval/sentiment/nusax/sentiment" / language / "test.csv"
            with path.open(encoding="utf-8", newline="") as lines:
                rows = list(csv.DictReader(lines))[: self.recipe.evaluate.rows or None]
            texts = [Labelled(row["text"], LABELS.index(row["label"])) for row in rows]
            figures[language] = self._macro_f1(texts)[0]
        return figures

    def latency(self) -> dict[str, float]:
        """Time of one short translation: milliseconds warm, seconds in a new process."""
        folder = self.checkpoints / "translation"
        model = self._model(AutoModelForSeq2SeqLM, "translation")
        text = "The weather is nice today."
        times = []
        for _ in range(30):
            started = time.perf_counter()
            translate(model, self.tokenizer, [text], "de", beams=self.recipe.translation.beams)
            times.append(1000 * (time.perf_counter() - started))
        program = FIRST_TRANSLATION.format(
            threads=self.recipe.evaluate.threads, folder=str(folder.resolve())
        )
        first = []
        for _ in range(3):
            done = subprocess.run(
                [sys.executable, "-c", program], capture_output=True, text=True, check=True
            )
            first.append(float(done.stdout.strip().splitlines()[-1]))
        return {"warm ms": statistics.median(times[5:]), "first s": statistics.median(first)}


PARTS: dict[str, Callable[[Evaluation], dict[str, float]]] = {
    "retrieval": Evaluation.retrieval,
    "pud": Evaluation.pud,
    "jsts": Evaluation.jsts,
    "sentiment": Evaluation.sentiment,
    "nusax": Evaluation.nusax,
    "latency": Evaluation.latency,
    "translation": Evaluation.translation,
    "ntrex": Evaluation.ntrex,
}


def run(
    data: Path,
    checkpoints: Path,
    work: Path,
    recipe: Recipe,
    *,
    parts: list[str],
    quantization: str,
) -> dict[str, dict[str, float]]:
    """Measure the checkpoints and write the figures down.

    Args:
        data: The data folder.
        checkpoints: The folder with `encoder` and `translation`.
        work: Folder of the recipe's intermediate products, where the figures go.
        recipe: The recipe.
        parts: What to measure, names of `PARTS`.
        quantization: One of `QUANTIZATIONS`.

    Returns:
        The figures of every part.
    """
    path = work / f"figures-{quantization}.json"
    figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    evaluation = Evaluation(
        data, checkpoints, recipe, quantization=quantization, sentences=recipe.evaluate.sentences
    )
    for part in parts:
        started = time.monotonic()
        figures[part] = {k: round(v, 2) for k, v in PARTS[part](evaluation).items()}
        log("evaluate", part=part, quantization=quantization, seconds=time.monotonic() - started)
        print(json.dumps(figures[part], indent=2))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return figures
