"""The translation model: the first layers of the encoder, and a decoder that attends to it."""

from __future__ import annotations

import random
import re
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sacrebleu
import torch
from transformers import (
    EncoderDecoderConfig,
    EncoderDecoderModel,
    XLMRobertaForCausalLM,
    XLMRobertaForSequenceClassification,
    XLMRobertaModel,
)

from training.batches import END, PAD, Tokens, by_length, pad, shorten
from training.corpus import TRANSLATED, UNSPACED, Corpus
from training.precision import Clock, Optimizer, average, lower_precision
from training.progress import log
from training.recipe import TranslationRecipe
from training.vocabulary import CONTROL, LANGUAGE_TOKENS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

IGNORED = -100
_NUMBER = re.compile(r"(?<![\w.,])\d{2,6}(?![\w.,])")
_NAME = re.compile(r"\b(?:Tom|Mary|John|Maria|Bob|Alice)\b")
# Names for augmentation: common first names and family names of several languages.
# fmt: off
NAMES = (
    "Anna", "Ben", "Carla", "David", "Elif", "Emre", "Fatma", "Felix", "Greta", "Hans", "Ines",
    "Jan", "Julia", "Karim", "Kenji", "Lars", "Laura", "Lea", "Lucas", "Luca", "Maja", "Marek",
    "Miguel", "Mina", "Nadia", "Nina", "Noah", "Olga", "Omar", "Paula", "Pedro", "Pierre",
    "Ravi", "Rosa", "Samir", "Sara", "Sofia", "Thomas", "Tim", "Ursula", "Vera", "Viktor", "Wei",
    "Yuki", "Zeynep", "Becker", "Dubois", "Garcia", "Jansen", "Kaya", "Lindberg", "Martin",
    "Moreau", "Nowak", "Okafor", "Petrov", "Rossi", "Schmidt", "Tanaka", "Visser", "Wang",
    "Weber",
)
# fmt: on


@dataclass(frozen=True)
class Example:
    """A tokenized pair.

    Attributes:
        source: `<s> text </s>`.
        target: The language, the text and `</s>`.
    """

    source: Tokens
    target: Tokens

    @property
    def length(self) -> int:
        """Tokens that the pair costs."""
        return 2 * max(len(self.source), len(self.target))


def renamed(source: str, target: str, chooser: random.Random) -> tuple[str, str]:
    """Put other names and numbers into both sides of a pair, where both have the same ones."""
    for pattern in (_NAME, _NUMBER):
        found = sorted(set(pattern.findall(source)))
        if not found or found != sorted(set(pattern.findall(target))):
            continue
        if pattern is _NAME:
            replaced = dict(zip(found, chooser.sample(NAMES, len(found)), strict=True))
        else:
            replaced = {
                number: str(chooser.randrange(10 ** (len(number) - 1), 10 ** len(number)))
                for number in found
            }
        source, target = (
            pattern.sub(lambda match, new=replaced: new[match.group()], text)
            for text in (source, target)
        )
    return source, target


class Examples:
    """Draws pairs: direction, language, sentence and spelling at random."""

    def __init__(
        self, corpus: Corpus, tokenizer: Tokenizer, recipe: TranslationRecipe, seed: int
    ) -> None:
        """Index the pairs by language, and by English side for direct pairs.

        Args:
            corpus: Sentences of all languages.
            tokenizer: The shared tokenizer.
            recipe: Shares of the directions.
            seed: Of the draws; another one after a resumption, or examples would repeat.
        """
        self._tokenizer, self._recipe = tokenizer, recipe
        self._chooser = random.Random(seed)
        self._pairs = {
            language: [(corpus.english[pair.english], pair.text) for pair in pairs]
            for language, pairs in corpus.sentences.items()
            if language in TRANSLATED
        }
        self._languages = list(self._pairs)
        self._weights = [
            len(pairs) ** recipe.sampling_exponent * recipe.language_weight.get(language, 1.0)
            for language, pairs in self._pairs.items()
        ]
        by_english: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for language in self._languages:
            for pair in corpus.sentences[language]:
                by_english[pair.english][language].append(pair.text)
        self._shared = [dict(sides) for sides in by_english.values() if len(sides) > 1]
        self._ready: list[Example] = []

    def _sentence(self) -> tuple[str, str, str, str]:
        """Draw a pair: source language, source, target language, target."""
        chooser, recipe = self._chooser, self._recipe
        direction = chooser.random()
        if direction >= recipe.into_english_share + recipe.from_english_share and self._shared:
            sides = chooser.choice(self._shared)
            left, right = chooser.sample(sorted(sides), 2)
            return left, chooser.choice(sides[left]), right, chooser.choice(sides[right])
        language = chooser.choices(self._languages, self._weights)[0]
        pairs = self._pairs[language]
        parts = [chooser.choice(pairs)]
        if chooser.random() < recipe.joined_share:
            parts += chooser.choices(pairs, k=chooser.choice((1, 1, 2)))
        english = " ".join(part[0] for part in parts)
        other = ("" if language in UNSPACED else " ").join(part[1] for part in parts)
        if direction < recipe.into_english_share:
            return language, other, "en", english
        return "en", english, language, other

    def _refill(self, count: int = 4096) -> None:
        """Draw and tokenize many pairs at once."""
        chooser, recipe = self._chooser, self._recipe
        sources, targets, languages = [], [], []
        for _ in range(count):
            _, source, language, target = self._sentence()
            if chooser.random() < recipe.renamed_share:
                source, target = renamed(source, target, chooser)
            if chooser.random() < recipe.lower_share:
                source = source.lower()
            sources.append(source)
            targets.append(target)
            languages.append(language)
        encoded = self._tokenizer.encode_batch(sources)
        written = self._tokenizer.encode_batch(targets)
        for source_tokens, target_tokens, language in zip(encoded, written, languages, strict=True):
            start = self._tokenizer.token_to_id(LANGUAGE_TOKENS[language])
            target_ids = [start, *target_tokens.ids[1:]]
            self._ready.append(
                Example(
                    shorten(source_tokens.ids, recipe.max_tokens),
                    shorten(target_ids, recipe.max_tokens),
                )
            )

    def draw(self) -> Example:
        """Draw one pair."""
        if not self._ready:
            self._refill()
        return self._ready.pop()


def configuration(
    encoder: XLMRobertaForSequenceClassification, recipe: TranslationRecipe
) -> EncoderDecoderConfig:
    """Describe the translation model; both sides are as wide as the sentence encoder."""
    shared = encoder.config.to_dict()
    for name in ("id2label", "label2id", "architectures", "classifier_dropout", "dtype"):
        shared.pop(name, None)
    shared["max_position_embeddings"] = recipe.positions
    kind = type(encoder.config)
    config = EncoderDecoderConfig.from_encoder_decoder_configs(
        kind(**shared | {"num_hidden_layers": recipe.encoder_layers}),
        kind(
            **shared
            | {
                "num_hidden_layers": recipe.decoder_layers,
                "is_decoder": True,
                "add_cross_attention": True,
                "tie_word_embeddings": True,
            }
        ),
    )
    config.decoder_start_token_id = END
    config.eos_token_id = END
    config.pad_token_id = PAD
    config.bos_token_id = CONTROL.index("<s>")
    config.vocab_size = encoder.config.vocab_size
    return config


@torch.no_grad()
def build(
    encoder: XLMRobertaForSequenceClassification, recipe: TranslationRecipe
) -> EncoderDecoderModel:
    """Start both sides from the sentence encoder.

    The decoder's layers are copies of encoder layers, its cross-attention a copy of their
    self-attention, and its head begins as the identity.

    Args:
        encoder: The trained sentence encoder.
        recipe: Number of layers.

    Returns:
        The model, float32.

    Source:
        Rothe et al. 2020, https://arxiv.org/abs/1907.12461; deep encoder and shallow decoder:
        Kasai et al. 2021, https://arxiv.org/abs/2006.10369
    """
    torch.manual_seed(recipe.seed)
    config = configuration(encoder, recipe)
    left = XLMRobertaModel(config.encoder)
    left.load_state_dict(encoder.roberta.state_dict(), strict=False)
    left.pooler.dense.weight.zero_()
    right = XLMRobertaForCausalLM(config.decoder)
    right.roberta.embeddings.load_state_dict(encoder.roberta.embeddings.state_dict())
    layers = encoder.roberta.encoder.layer
    for number, layer in enumerate(right.roberta.encoder.layer):
        taught = layers[number * (recipe.encoder_layers - 1) // max(recipe.decoder_layers - 1, 1)]
        layer.load_state_dict(taught.state_dict(), strict=False)
        layer.crossattention.load_state_dict(taught.attention.state_dict(), strict=False)
    head = right.lm_head
    torch.nn.init.eye_(head.dense.weight)
    head.dense.bias.zero_()
    model = EncoderDecoderModel(config=config, encoder=left, decoder=right)
    model.tie_weights()
    return model


class SmoothedCrossEntropy(torch.autograd.Function):
    """Softmax, label smoothing and their gradient in few passes over the logits.

    On a CPU the usual way, through float32 logits and their logarithms, takes a third of a
    training step; this one rounds the probabilities to bfloat16, never writes logarithms, and
    leaves the bias of the pieces at zero.

    Source:
        Label smoothing: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        states: torch.Tensor,
        table: torch.Tensor,
        labels: torch.Tensor,
        smoothing: float,
    ) -> torch.Tensor:
        """Compute the plain loss and keep the gradient of the smoothed one.

        Args:
            ctx: Where the gradient is kept.
            states: Last states of the decoder's head, `(tokens, width)`, bfloat16.
            table: Output vectors, `(pieces, width)`, float32.
            labels: The right pieces, `(tokens,)`.
            smoothing: Mass given to all pieces alike.

        Returns:
            The cross-entropy without smoothing, mean over the tokens.
        """
        rounded = table.to(states.dtype)
        gradient = (states @ rounded.T).softmax(-1)
        right = gradient.gather(1, labels[:, None])
        gradient[torch.arange(len(labels), device=labels.device), labels] += smoothing - 1.0
        ctx.save_for_backward(states, rounded, gradient)
        ctx.uniform = smoothing / len(table)
        return -right.float().clamp_min(1e-9).log().mean()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        """Apply the kept gradient."""
        states, rounded, gradient = ctx.saved_tensors
        scale = grad / len(states)
        # The uniform part of smoothing is the same row for all, so it needs no pass of its own.
        for_states = (gradient @ rounded).float() - ctx.uniform * rounded.float().sum(0)
        for_table = (gradient.T @ states).float() - ctx.uniform * states.float().sum(0)
        return (for_states * scale).to(states.dtype), for_table.mul_(scale), None, None


def loss_of(
    model: EncoderDecoderModel, batch: list[Example], smoothing: float, device: torch.device
) -> torch.Tensor:
    """Compute the loss of a batch.

    Args:
        model: The model, in its working precision.
        batch: Pairs.
        smoothing: Label smoothing.
        device: Where the model is.

    Returns:
        The cross-entropy without smoothing; its gradient is that of the smoothed one.
    """
    source = pad([example.source for example in batch], device)
    labels = pad([example.target for example in batch], device, fill=IGNORED)
    given = torch.cat([torch.full_like(labels[:, :1], END), labels[:, :-1]], 1)
    given[given == IGNORED] = PAD
    mask = (source != PAD).long()
    states = model.encoder(input_ids=source, attention_mask=mask).last_hidden_state
    written = model.decoder.roberta(
        input_ids=given,
        attention_mask=(given != PAD).long(),
        encoder_hidden_states=states,
        encoder_attention_mask=mask,
        use_cache=False,
    ).last_hidden_state
    kept = labels != IGNORED
    head = model.decoder.lm_head
    final = head.layer_norm(torch.nn.functional.gelu(head.dense(written[kept])))
    return SmoothedCrossEntropy.apply(final, head.decoder.weight, labels[kept], smoothing)


@torch.inference_mode()
def translate(
    model: EncoderDecoderModel,
    tokenizer: Tokenizer,
    texts: list[str],
    language: str,
    *,
    beams: int = 1,
    max_tokens: int = 128,
    length_penalty: float = 1.0,
    batch_size: int = 64,
) -> list[str]:
    """Translate texts with the stock `generate`.

    Args:
        model: A float32 model.
        tokenizer: The shared tokenizer.
        texts: Source texts, each within the window.
        language: Target language.
        beams: Width of the search.
        max_tokens: Window of source and target.
        length_penalty: Exponent of the length in the search.
        batch_size: Texts at a time.

    Returns:
        The translations, in order.
    """
    rows = [shorten(encoding.ids, max_tokens) for encoding in tokenizer.encode_batch(texts)]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    written = [""] * len(rows)
    for first in range(0, len(order), batch_size):
        part = order[first : first + batch_size]
        source = pad([rows[i] for i in part], model.device)
        output = model.generate(
            input_ids=source,
            attention_mask=(source != PAD).long(),
            forced_bos_token_id=tokenizer.token_to_id(LANGUAGE_TOKENS[language]),
            num_beams=beams,
            length_penalty=length_penalty,
            max_length=min(max_tokens, 2 * source.shape[1] + 12),
        )
        for i, tokens in zip(part, output.tolist(), strict=True):
            written[i] = tokenizer.decode(tokens, skip_special_tokens=True).strip()
    return written


def dev_scores(
    model: EncoderDecoderModel,
    tokenizer: Tokenizer,
    corpus: Corpus,
    recipe: TranslationRecipe,
    *,
    sentences: int,
    beams: int = 1,
) -> dict[str, float]:
    """Measure chrF++ on development pairs, in every direction with English."""
    figures = {}
    for language in TRANSLATED:
        pairs = corpus.dev[language][:sentences]
        english, other = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        for name, source, target, code in (
            (f"{language}-en", other, english, "en"),
            (f"en-{language}", english, other, language),
        ):
            output = translate(
                model,
                tokenizer,
                source,
                code,
                beams=beams,
                max_tokens=recipe.max_tokens,
                length_penalty=recipe.length_penalty,
            )
            figures[name] = sacrebleu.corpus_chrf(output, [target], word_order=2).score
    european = [figures[pair] for c in ("de", "fr", "es", "nl") for pair in (f"{c}-en", f"en-{c}")]
    figures["european"] = sum(european) / len(european)
    figures["asian_to_en"] = sum(figures[f"{c}-en"] for c in ("ja", "tr", "zh")) / 3
    return figures


def rates(recipe: TranslationRecipe, name: str) -> float:
    """Give the peak learning rate of a parameter by its name."""
    if "word_embeddings" in name:
        return recipe.vocabulary_rate
    return recipe.encoder_rate if name.startswith("encoder") else recipe.rate


def load_weights(
    encoder: XLMRobertaForSequenceClassification,
    recipe: TranslationRecipe,
    weights: dict[str, torch.Tensor],
) -> EncoderDecoderModel:
    """Build the model in float32 and give it trained weights."""
    model = build(encoder, recipe)
    model.load_state_dict(weights, strict=False)
    model.tie_weights()
    return model.eval()


def run(
    corpus: Corpus,
    encoder: XLMRobertaForSequenceClassification,
    tokenizer: Tokenizer,
    work: Path,
    recipe: TranslationRecipe,
    device: torch.device,
    begin: EncoderDecoderModel | None = None,
) -> Path:
    """Train the translation model, or go on from its last checkpoint.

    The weights of the last minutes are averaged, and the average is kept if it does better
    on the development pairs than the last weights alone; so is its average with the model that
    training went on from.

    Args:
        corpus: The training sentences.
        encoder: The trained sentence encoder, float32.
        tokenizer: The shared tokenizer.
        work: Folder of the recipe's intermediate products.
        recipe: Hyper-parameters.
        device: Where to compute.
        begin: Go on from this model instead of the encoder.

    Returns:
        The file with the finished weights.
    """
    folder = work / "translation"
    folder.mkdir(parents=True, exist_ok=True)
    finished, checkpoint = folder / "weights.pt", folder / "checkpoint.pt"
    if finished.exists():
        return finished
    model = (begin or build(encoder, recipe)).to(device)
    model.encoder.set_attn_implementation("eager")  # Faster backward on the CPU, see encoder.
    model.decoder.set_attn_implementation("eager")
    initial = {name: value.detach().clone() for name, value in model.named_parameters()}
    lower_precision(model)
    model.decoder.lm_head.bias.data = model.decoder.lm_head.bias.data.float()
    model.tie_weights()
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
    batches = by_length(examples.draw, lambda e: e.length, recipe.batch_tokens, random.Random(seed))
    log("translation", ready=1, parameters=sum(p.numel() for p in model.parameters()))
    clock.load_state_dict(clock.state_dict() if clock.steps else {"steps": 0, "elapsed_s": 0.0})

    snapshots: list[dict[str, torch.Tensor]] = []
    sums: dict[str, list[float]] = {"loss": [], "norm": []}
    seen, since, saved = 0, time.monotonic(), time.monotonic()
    while not clock.finished:
        scale = clock.tick()
        batch = next(batches)
        loss = loss_of(model, batch, recipe.label_smoothing, device)
        loss.backward()
        sums["norm"].append(optimizer.step(scale))
        sums["loss"].append(loss.item())
        seen += len(batch)
        left = recipe.minutes - clock.elapsed_s / 60
        due = recipe.average_minutes * (recipe.averaged_checkpoints - 1 - len(snapshots))
        if due > 0 and left <= due:
            snapshots.append(optimizer.weights())
        if clock.steps % 100 == 0:
            log(
                "translation",
                step=clock.steps,
                minutes=clock.elapsed_s / 60,
                rate=scale,
                pairs_s=seen / (time.monotonic() - since),
                **{name: float(np.mean(values)) for name, values in sums.items()},
            )
            seen, since = 0, time.monotonic()
            sums = {name: [] for name in sums}
        if time.monotonic() - saved > recipe.checkpoint_minutes * 60:
            partial = checkpoint.with_suffix(".partial")
            torch.save({"optimizer": optimizer.state_dict(), "clock": clock.state_dict()}, partial)
            partial.replace(checkpoint)
            saved = time.monotonic()
    last = optimizer.weights()
    averaged = average([*snapshots, last])
    candidates = {"last": last, "averaged": averaged}
    if begin is not None:
        start = {name: value.float().cpu() for name, value in initial.items()}
        candidates["averaged with the beginning"] = average([start, averaged])
    best, best_score = last, -1.0
    for name, weights in candidates.items():
        candidate = load_weights(encoder, recipe, weights).to(device)
        figures = dev_scores(
            candidate, tokenizer, corpus, recipe, sentences=min(100, len(corpus.dev["de"]))
        )
        log("translation", weights=name, step=clock.steps, **figures)
        score = figures["european"] + figures["asian_to_en"]
        if score > best_score:
            best, best_score = weights, score
    torch.save(best, finished)
    return finished
