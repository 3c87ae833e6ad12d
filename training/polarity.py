"""The sentiment head, fitted once more on the finished encoder.

While the encoder learns, sources without neutral texts leave the neutral class alone, so that
the encoder does not learn "no neutral in this language". The head then answers neutral too
often. Here the encoder stands still, and the head alone learns from all sources that a text
with a polarity is not neutral. Vectors of the sentences are not touched.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from training.batches import PAD, EncodedTexts, pad
from training.progress import log

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Tokenizer
    from transformers import XLMRobertaForSequenceClassification

    from training.corpus import Labelled
    from training.recipe import HeadRecipe


@torch.inference_mode()
def first_states(
    model: XLMRobertaForSequenceClassification,
    tokenizer: Tokenizer,
    texts: list[str],
    recipe: HeadRecipe,
    device: torch.device,
) -> torch.Tensor:
    """Give what the head reads, the last state of `<s>`, `(texts, width)`, float32."""
    encoded = EncodedTexts(tokenizer, texts, recipe.max_tokens)
    order = sorted(range(len(texts)), key=lambda i: len(encoded[i]))
    states = torch.empty(len(texts), model.config.hidden_size)
    for first in range(0, len(order), 128):
        part = order[first : first + 128]
        tokens = pad([encoded[i] for i in part], device)
        output = model.roberta(input_ids=tokens, attention_mask=(tokens != PAD).long())
        states[part] = output.last_hidden_state[:, 0].float().cpu()
    return states


def run(
    model: XLMRobertaForSequenceClassification,
    sources: dict[str, list[Labelled]],
    tokenizer: Tokenizer,
    work: Path,
    recipe: HeadRecipe,
    device: torch.device,
) -> None:
    """Fit the head of a finished encoder, in place, or read back the head fitted before.

    A twentieth of the training texts decides after which round the head is best.

    Args:
        model: The finished encoder with its sentiment head.
        sources: Texts to train on, by source.
        tokenizer: The shared tokenizer.
        work: Folder of the recipe's intermediate products.
        recipe: Hyper-parameters.
        device: Where to compute.
    """
    path = work / "encoder" / "head.pt"
    if path.exists():
        model.classifier.load_state_dict(torch.load(path, weights_only=True))
        return
    chooser = random.Random(recipe.seed)
    texts: list[Labelled] = []
    weights: list[float] = []
    for labelled in sources.values():
        three = len({text.label for text in labelled}) == 3
        limit = recipe.texts_three_classes if three else recipe.texts_two_classes
        chosen = chooser.sample(labelled, min(len(labelled), limit))
        texts += chosen
        share = (1.0 if three else recipe.two_classes_weight) * len(chosen) ** 0.5
        weights += [share / max(len(chosen), 1)] * len(chosen)
    model = model.to(device).eval()
    states = first_states(model, tokenizer, [text.text for text in texts], recipe, device)
    labels = torch.tensor([text.label for text in texts])
    weight = torch.tensor(weights)
    generator = torch.Generator().manual_seed(recipe.seed)
    order = torch.randperm(len(texts), generator=generator)
    check, train = order[: len(order) // 20], order[len(order) // 20 :]

    head = model.classifier.cpu().float()
    optimizer = torch.optim.AdamW(head.parameters(), lr=recipe.rate, weight_decay=0.01)
    steps = max(len(train) // recipe.batch_size, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.rate, total_steps=steps * recipe.rounds
    )
    best, best_loss = {}, float("inf")
    for number in range(recipe.rounds):
        drawn = train[
            torch.multinomial(
                weight[train], steps * recipe.batch_size, replacement=True, generator=generator
            )
        ]
        for rows in drawn.split(recipe.batch_size):
            kept = torch.rand(len(rows), states.shape[1], generator=generator) >= recipe.dropout
            features = (states[rows] * kept / (1 - recipe.dropout)).unsqueeze(1)
            loss = functional.cross_entropy(head(features), labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.inference_mode():
            logits = head(states[check].unsqueeze(1))
            losses = functional.cross_entropy(logits, labels[check], reduction="none")
            checked = float((losses * weight[check]).sum() / weight[check].sum())
            right = float((logits.argmax(-1) == labels[check]).float().mean())
        log("head", round=number + 1, texts=len(train), check_loss=checked, check_right=right)
        if checked < best_loss:
            best_loss = checked
            best = {name: value.clone() for name, value in head.state_dict().items()}
    head.load_state_dict(best)
    torch.save(best, path)
