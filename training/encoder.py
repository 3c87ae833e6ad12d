"""The sentence encoder, distilled from the teacher, and its sentiment head."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from langchain_xlm.models.processor import computes_bfloat16
from training import student
from training.batches import PAD, EncodedTexts, Tokens, by_length, pad, shorten
from training.corpus import LABELS, TRANSLATED, Corpus, Labelled
from training.precision import Clock, Optimizer, average, lower_precision
from training.progress import log
from training.recipe import EncoderRecipe
from training.teacher import mean_pool

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import XLMRobertaForSequenceClassification

FINAL_MARKS = ".!?。！？"


@dataclass(frozen=True)
class Example:
    """One or two texts that should get the teacher's vector of one English text."""

    rows: tuple[Tokens, ...]
    english: int

    @property
    def length(self) -> int:
        """Tokens of the longer row."""
        return max(len(row) for row in self.rows)


class Examples:
    """Draws training examples: language, text and spelling at random."""

    def __init__(
        self, corpus: Corpus, tokenizer: Tokenizer, recipe: EncoderRecipe, seed: int
    ) -> None:
        """Tokenize the corpus.

        Args:
            corpus: Sentences and joined texts of all languages.
            tokenizer: The shared tokenizer.
            recipe: Shares of the kinds of examples.
            seed: Of the draws; another one after a resumption, or examples would repeat.
        """
        self._corpus, self._tokenizer, self._recipe = corpus, tokenizer, recipe
        self._chooser = random.Random(seed)
        self._english = EncodedTexts(tokenizer, corpus.english, recipe.max_tokens)
        self._pairs = {
            language: items + corpus.joined.get(language, [])
            for language, items in corpus.sentences.items()
        }
        self._foreign = {
            language: EncodedTexts(tokenizer, [item.text for item in items], recipe.max_tokens)
            for language, items in self._pairs.items()
        }
        self._long = {
            language: [
                i
                for i, item in enumerate(items)
                if len(corpus.english[item.english]) >= recipe.long_characters
            ]
            for language, items in self._pairs.items()
        }
        self._languages = list(self._pairs)
        self._weights = [
            len(items) ** recipe.sampling_exponent * recipe.language_weight.get(language, 1.0)
            for language, items in self._pairs.items()
        ]

    def _respell(self, tokens: Tokens, text: str) -> Tokens:
        """Sometimes write a text in lower case or without its final mark."""
        lower = self._chooser.random() < self._recipe.lower_share
        unpunctuated = self._chooser.random() < self._recipe.unpunctuated_share
        if not lower and not unpunctuated:
            return tokens
        text = text.lower() if lower else text
        text = text.rstrip(FINAL_MARKS) or text if unpunctuated else text
        return shorten(self._tokenizer.encode(text).ids, self._recipe.max_tokens)

    def draw(self) -> Example:
        """Draw one example."""
        chooser, recipe = self._chooser, self._recipe
        if chooser.random() < recipe.english_share:
            if chooser.random() < 0.5 and self._corpus.english_only:
                english = chooser.choice(self._corpus.english_only)
            else:
                english = chooser.randrange(len(self._english))
            text = self._corpus.english[english]
            return Example((self._respell(self._english[english], text),), english)
        language = chooser.choices(self._languages, self._weights)[0]
        index = chooser.randrange(len(self._pairs[language]))
        if self._long[language] and chooser.random() < recipe.long_share:
            index = chooser.choice(self._long[language])
        pair = self._pairs[language][index]
        foreign = self._respell(self._foreign[language][index], pair.text)
        if chooser.random() < recipe.both_sides_share:
            text = self._corpus.english[pair.english]
            return Example(
                (foreign, self._respell(self._english[pair.english], text)), pair.english
            )
        return Example((foreign,), pair.english)


class Polarities:
    """Draws batches of labelled texts, sources by the square root of their size."""

    def __init__(
        self,
        sources: dict[str, list[Labelled]],
        tokenizer: Tokenizer,
        recipe: EncoderRecipe,
        seed: int,
    ) -> None:
        """Tokenize the labelled texts.

        Args:
            sources: Texts to train on, by source.
            tokenizer: The shared tokenizer.
            recipe: Batch size and window.
            seed: Of the draws.
        """
        self._chooser = random.Random(seed)
        self._names = [name for name, texts in sources.items() if texts]
        self._labels = {n: [text.label for text in sources[n]] for n in self._names}
        self._texts = {
            name: EncodedTexts(tokenizer, [text.text for text in sources[name]], recipe.max_tokens)
            for name in self._names
        }
        self._weights = [
            len(self._texts[name]) ** 0.5 * (4.0 if len(set(self._labels[name])) == 3 else 1.0)
            for name in self._names
        ]
        self._present = {
            name: [label in self._labels[name] for label in range(len(LABELS))]
            for name in self._names
        }
        self._batches = by_length(
            self._draw, lambda item: len(item[0]), recipe.batch_tokens, self._chooser
        )

    def _draw(self) -> tuple[Tokens, int, list[bool]]:
        """Draw one text with its label and the labels that its source knows."""
        name = self._chooser.choices(self._names, self._weights)[0]
        index = self._chooser.randrange(len(self._texts[name]))
        return self._texts[name][index], self._labels[name][index], self._present[name]

    def batches(self, device: torch.device) -> Iterator[tuple[torch.Tensor, ...]]:
        """Give batches without end: tokens, labels, and the labels each source lacks."""
        for items in self._batches:
            tokens = pad([item[0] for item in items], device)
            labels = torch.tensor([item[1] for item in items], device=device)
            absent = ~torch.tensor([item[2] for item in items], device=device)
            yield tokens, labels, absent


class Bank:
    """The teacher's vectors, of which many are scored against every batch."""

    def __init__(self, vectors: torch.Tensor, recipe: EncoderRecipe, device: torch.device) -> None:
        """Find near neighbours of every vector in a random part of the bank.

        Args:
            vectors: Unit vectors, `(texts, width)`, bfloat16.
            recipe: How many neighbours and how many random vectors.
            device: Where the student is.
        """
        self._recipe = recipe
        # A CPU without units for bfloat16 multiplies float32 many times faster.
        plain = device.type == "cpu" and not computes_bfloat16()
        self._vectors = vectors.to(device, torch.float32 if plain else None)
        self._random = torch.Generator().manual_seed(recipe.seed)
        count = len(vectors)
        pool = torch.randperm(count, generator=self._random)[: recipe.neighbour_pool]
        found = []
        wanted = min(recipe.bank_neighbours, len(pool))
        pooled = self._vectors[pool.to(device)].T.contiguous()
        for part in self._vectors.split(4096):
            scores = part @ pooled
            scores[scores > recipe.duplicate_cosine] = -1.0
            # The best of each group of 16 first: a full search for the best few costs more.
            width = scores.shape[1] // 16 * 16
            best, place = scores[:, :width].view(len(part), -1, 16).max(-1)
            near = best.topk(min(wanted, best.shape[1]), dim=-1).indices
            found.append((near * 16 + place.gather(1, near)).cpu())
        self._neighbours = pool[torch.cat(found)]

    def alike(self, texts: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Tell which of two lists of English texts say the same, `(texts, others)`, boolean."""
        device = self._vectors.device
        cosine = self._vectors[texts.to(device)] @ self._vectors[others.to(device)].T
        return cosine > self._recipe.duplicate_cosine

    def draw(self, english: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Give the targets of a batch and the vectors to score against.

        Args:
            english: Which English text each row should match, `(batch,)`.

        Returns:
            Targets, `(batch, width)`, float32, and candidates, `(candidates, width)`, bfloat16,
            among them the targets.
        """
        others = torch.randint(
            len(self._vectors), (self._recipe.bank_random,), generator=self._random
        )
        near = self._neighbours[english].flatten()
        candidates = torch.unique(torch.cat([english, near, others]))
        device = self._vectors.device
        return (
            self._vectors[english.to(device)].float(),
            self._vectors[candidates.to(device)],
        )


def embed(
    model: XLMRobertaForSequenceClassification, rows: list[Tokens], device: torch.device
) -> torch.Tensor:
    """Give the student's unit vectors of token sequences, `(rows, width)`, float32."""
    tokens = pad(rows, device)
    mask = (tokens != PAD).long()
    states = model.roberta(input_ids=tokens, attention_mask=mask).last_hidden_state
    return mean_pool(states, mask)


class Memory:
    """The student's vectors of the two sides of recent pairs, oldest replaced first.

    Source:
        Cross-batch memory, Wang et al. 2020, https://arxiv.org/abs/1912.06798
    """

    def __init__(self, size: int, width: int, device: torch.device) -> None:
        """Begin empty.

        Args:
            size: Pairs that are kept.
            width: Of the vectors.
            device: Where the student is.
        """
        self._size = size
        self._left = torch.zeros(0, width, device=device)
        self._right = torch.zeros(0, width, device=device)
        self._texts = torch.zeros(0, dtype=torch.long)

    def contrast(
        self,
        left: torch.Tensor,
        right: torch.Tensor,
        texts: torch.Tensor,
        bank: Bank,
        temperature: float,
    ) -> torch.Tensor:
        """Tell the two sides of each pair from all others of the batch and the memory; keep them.

        A pair whose English text the teacher holds for a paraphrase is left out of the others.

        Args:
            left: Unit vectors of one side, `(pairs, width)`.
            right: Unit vectors of the other, `(pairs, width)`.
            texts: Which English text each pair has, `(pairs,)`.
            bank: The teacher's vectors.
            temperature: Divides the cosines.

        Returns:
            The mean of the two directions' cross-entropies.
        """
        count = len(left)
        other_texts = torch.cat([texts, self._texts])
        alike = bank.alike(texts, other_texts)
        alike[:, :count].fill_diagonal_(False)
        goal = torch.arange(count, device=left.device)
        losses = [
            functional.cross_entropy(
                (mine @ torch.cat([theirs, kept]).T / temperature).masked_fill(alike, -1e4), goal
            )
            for mine, theirs, kept in ((left, right, self._right), (right, left, self._left))
        ]
        with torch.no_grad():
            self._left = torch.cat([left.detach(), self._left])[: self._size]
            self._right = torch.cat([right.detach(), self._right])[: self._size]
            self._texts = other_texts[: self._size]
        return (losses[0] + losses[1]) / 2


def distillation_loss(
    model: XLMRobertaForSequenceClassification,
    examples: list[Example],
    bank: Bank,
    memory: Memory,
    recipe: EncoderRecipe,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compare the student's vectors with the teacher's.

    Three parts: the angle to the target; the likeness of the student's distribution over many
    English texts to the teacher's own, in which near texts share the mass; and the contrast of
    the student's vectors of the two sides with each other.

    Args:
        model: The student.
        examples: A batch.
        bank: The teacher's vectors.
        memory: The student's vectors of earlier pairs.
        recipe: Weights and temperature.
        device: Where the student is.

    Returns:
        The loss, and the mean cosine to the target.

    Source:
        Reimers and Gurevych 2020, https://arxiv.org/abs/2004.09813; the distribution over a
        bank is that of Fang et al. 2021 (SEED), https://arxiv.org/abs/2101.04731
    """
    rows = [row for example in examples for row in example.rows]
    owner = torch.tensor([e.english for e in examples for _ in e.rows])
    vectors = embed(model, rows, device)
    targets, candidates = bank.draw(owner)
    cosine = (vectors * targets).sum(-1)
    scale = 1.0 / recipe.temperature
    with torch.no_grad():
        wanted = ((targets.to(candidates.dtype) @ candidates.T).float() * scale).softmax(-1)
    scores = (vectors.to(candidates.dtype) @ candidates.T).float() * scale
    bank_loss = -(wanted * scores.log_softmax(-1)).sum(-1).mean()
    loss = bank_loss + recipe.cosine_weight * (1.0 - cosine).mean()

    starts = np.cumsum([0, *(len(example.rows) for example in examples)])[:-1]
    both = [i for i, example in enumerate(examples) if len(example.rows) == 2]
    if len(both) > 1 and recipe.student_weight:
        first = torch.tensor([int(starts[i]) for i in both])
        left, right = vectors[first.to(device)], vectors[(first + 1).to(device)]
        loss = loss + recipe.student_weight * memory.contrast(
            left, right, owner[first], bank, recipe.temperature
        )
    return loss, cosine.mean().detach()


@torch.inference_mode()
def encode(
    model: XLMRobertaForSequenceClassification,
    tokenizer: Tokenizer,
    texts: list[str],
    recipe: EncoderRecipe,
    device: torch.device,
) -> torch.Tensor:
    """Give the student's vectors of texts, in their order, `(texts, width)`, float32."""
    encoded = EncodedTexts(tokenizer, texts, recipe.max_tokens)
    order = sorted(range(len(texts)), key=lambda i: len(encoded[i]))
    vectors = torch.empty(len(texts), model.config.hidden_size)
    for first in range(0, len(order), 128):
        part = order[first : first + 128]
        vectors[part] = embed(model, [encoded[i] for i in part], device).cpu()
    return vectors


def dev_retrieval(
    model: XLMRobertaForSequenceClassification,
    tokenizer: Tokenizer,
    corpus: Corpus,
    recipe: EncoderRecipe,
    device: torch.device,
) -> dict[str, float]:
    """Measure retrieval on the development pairs: accuracy in per cent, mean of directions."""
    figures = {}
    for language in TRANSLATED:
        english, other = zip(*corpus.dev[language], strict=True)
        left = encode(model, tokenizer, list(english), recipe, device)
        right = encode(model, tokenizer, list(other), recipe, device)
        scores = left @ right.T
        truth = torch.arange(len(scores))
        hits = (scores.argmax(0) == truth).float().mean() + (
            scores.argmax(1) == truth
        ).float().mean()
        figures[language] = 50.0 * float(hits)
    figures["mean"] = sum(figures.values()) / len(figures)
    return figures


def rates(recipe: EncoderRecipe, name: str) -> float:
    """Give the peak learning rate of a parameter by its name."""
    if "word_embeddings" in name:
        return recipe.vocabulary_rate
    return recipe.head_rate if name.startswith("classifier") else recipe.trunk_rate


def run(
    corpus: Corpus,
    sentiment: dict[str, list[Labelled]],
    tokenizer: Tokenizer,
    vectors: torch.Tensor,
    work: Path,
    recipe: EncoderRecipe,
    device: torch.device,
    begin: XLMRobertaForSequenceClassification | None = None,
) -> Path:
    """Train the encoder, or go on from its last checkpoint.

    Args:
        corpus: The training sentences.
        sentiment: Labelled texts to train on, by source.
        tokenizer: The shared tokenizer.
        vectors: The teacher's vectors of `corpus.english`.
        work: Folder of the recipe's intermediate products.
        recipe: Hyper-parameters.
        device: Where to compute.
        begin: Go on from this model instead of a new student.

    Returns:
        The file with the finished weights.
    """
    folder = work / "encoder"
    folder.mkdir(parents=True, exist_ok=True)
    finished, checkpoint, start = (
        folder / name for name in ("weights.pt", "checkpoint.pt", "start.pt")
    )
    if finished.exists():
        return finished
    if not start.exists():
        torch.save(begin or student.build(corpus, tokenizer, recipe), start)
    model = torch.load(start, weights_only=False).to(device)
    model.set_attn_implementation("eager")  # On the CPU its backward pass is six times faster.
    initial = {name: value.detach().clone() for name, value in model.named_parameters()}
    lower_precision(model)
    optimizer = Optimizer(
        model, initial, lambda name: rates(recipe, name), weight_decay=recipe.weight_decay
    )
    clock = Clock(recipe.minutes, recipe.warmup_steps)
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        optimizer.load_state_dict(state["optimizer"])
        clock.load_state_dict(state["clock"])
    seed = recipe.seed + clock.steps

    examples = Examples(corpus, tokenizer, recipe, seed)
    bank = Bank(vectors, recipe, device)
    memory = Memory(recipe.memory, vectors.shape[1], device)
    batches = by_length(
        examples.draw,
        lambda example: example.length,
        recipe.batch_tokens,
        random.Random(seed),
        rows=lambda example: len(example.rows),
    )
    polarities = Polarities(sentiment, tokenizer, recipe, seed).batches(device)
    log("encoder", ready=1, **dev_retrieval(model, tokenizer, corpus, recipe, device))
    clock.load_state_dict(clock.state_dict() if clock.steps else {"steps": 0, "elapsed_s": 0.0})

    sums: dict[str, list[float]] = {"loss": [], "cosine": [], "polarity": [], "right": []}
    seen, tokens_seen, since, saved = 0, 0, time.monotonic(), time.monotonic()
    while not clock.finished:
        scale = clock.tick()
        if clock.steps % recipe.sentiment_every == 0:
            tokens, labels, absent = next(polarities)
            logits = model(input_ids=tokens, attention_mask=(tokens != PAD).long()).logits.float()
            logits = logits.masked_fill(absent, -1e4)
            loss = functional.cross_entropy(logits, labels)
            sums["polarity"].append(loss.item())
            sums["right"].append(float((logits.argmax(-1) == labels).float().mean()))
            (loss * recipe.sentiment_weight).backward()
        else:
            batch = next(batches)
            loss, cosine = distillation_loss(model, batch, bank, memory, recipe, device)
            sums["loss"].append(loss.item())
            sums["cosine"].append(float(cosine))
            seen += len(batch)
            tokens_seen += sum(len(row) for example in batch for row in example.rows)
            loss.backward()
        optimizer.step(scale)
        if clock.steps % 100 == 0:
            spent = time.monotonic() - since
            log(
                "encoder",
                step=clock.steps,
                minutes=clock.elapsed_s / 60,
                rate=scale,
                examples_s=seen / spent,
                tokens_s=tokens_seen / spent,
                **{name: float(np.mean(values)) for name, values in sums.items() if values},
            )
            seen, tokens_seen, since = 0, 0, time.monotonic()
            sums = {name: [] for name in sums}
        if time.monotonic() - saved > recipe.checkpoint_minutes * 60:
            partial = checkpoint.with_suffix(".partial")
            torch.save({"optimizer": optimizer.state_dict(), "clock": clock.state_dict()}, partial)
            partial.replace(checkpoint)
            figures = dev_retrieval(model, tokenizer, corpus, recipe, device)
            log("encoder", step=clock.steps, minutes=clock.elapsed_s / 60, **figures)
            saved = since = time.monotonic()
            seen = tokens_seen = 0
    last = optimizer.weights()
    torch.save(last, folder / "last.pt")
    candidates = {"last": last}
    if begin is not None:
        candidates["between the beginning and the last"] = {
            name: torch.lerp(initial[name].float().cpu(), weight, recipe.share_of_last)
            for name, weight in last.items()
        }
    best, best_score = last, -1.0
    for name, weights in candidates.items():
        model.load_state_dict(weights, strict=False)
        figures = dev_retrieval(model, tokenizer, corpus, recipe, device)
        log("encoder", weights=name, step=clock.steps, minutes=clock.elapsed_s / 60, **figures)
        if figures["mean"] > best_score:
            best, best_score = weights, figures["mean"]
    torch.save(best, finished)
    return finished


def average_runs(runs: Sequence[Path], work: Path) -> Path:
    """Take the mean of several finished runs from one beginning for this one's encoder.

    Args:
        runs: Work folders of the others, each with its encoder's last weights.
        work: Folder of this run; what it has of an encoder is replaced.

    Returns:
        The file with the weights.

    Source:
        Wortsman et al. 2022 (model soups), https://arxiv.org/abs/2203.05482
    """
    folder = work / "encoder"
    folder.mkdir(parents=True, exist_ok=True)
    last = [torch.load(run / "encoder" / "last.pt", weights_only=True) for run in runs]
    shutil.copyfile(runs[0] / "encoder" / "start.pt", folder / "start.pt")
    torch.save(average(last), folder / "weights.pt")
    log("encoder", averaged=len(runs))
    return folder / "weights.pt"
