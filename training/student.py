"""The student before its first step: layers from the teacher, a vocabulary aligned to it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertModel,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from training.corpus import LABELS, Corpus
from training.progress import log
from training.recipe import EncoderRecipe
from training.teacher import teacher_folder
from training.vocabulary import CONTROL, METASPACE

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TEACHER_SPECIAL = {"<s>": "[CLS]", "<pad>": "[PAD]", "</s>": "[SEP]", "<unk>": "[UNK]"}
FIRST_POSITION = 2


def configuration(
    teacher: BertModel, recipe: EncoderRecipe, vocabulary_size: int
) -> XLMRobertaConfig:
    """Describe the student: the teacher's shape under XLM-R's names, without dropout."""
    shape = teacher.config
    return XLMRobertaConfig(
        vocab_size=vocabulary_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=shape.num_attention_heads,
        intermediate_size=shape.intermediate_size,
        hidden_act=shape.hidden_act,
        layer_norm_eps=shape.layer_norm_eps,
        max_position_embeddings=recipe.positions,
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        classifier_dropout=0.0,
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
        bos_token_id=CONTROL.index("<s>"),
        pad_token_id=CONTROL.index("<pad>"),
        eos_token_id=CONTROL.index("</s>"),
    )


def spelled_rows(tokenizer: Tokenizer, teacher: BertModel) -> tuple[torch.Tensor, list[int]]:
    """Place each piece at the mean of the teacher's pieces of its spelling.

    Args:
        tokenizer: The student's tokenizer.
        teacher: The teacher.

    Returns:
        Rows for the student's vocabulary, `(pieces, width)`, float32, and the identifiers
        of pieces the teacher cannot spell, whose rows are random.
    """
    spelling = AutoTokenizer.from_pretrained(teacher_folder())
    known = spelling.get_vocab()
    table = teacher.get_input_embeddings().weight.detach().float()
    spread = table.std().item()
    size = tokenizer.get_vocab_size()
    rows = torch.randn(size, table.shape[1], generator=torch.Generator().manual_seed(0)) * spread
    unspelled = []
    for piece, row in tokenizer.get_vocab().items():
        if piece in TEACHER_SPECIAL:
            rows[row] = table[known[TEACHER_SPECIAL[piece]]]
            continue
        starts_word = piece.startswith(METASPACE)
        words = spelling.tokenize(piece.lstrip(METASPACE)) if not piece.startswith("<0x") else []
        if words and not starts_word and f"##{words[0]}" in known:
            words[0] = f"##{words[0]}"
        if words and "[UNK]" not in words:
            rows[row] = table[[known[word] for word in words]].mean(0)
        else:
            unspelled.append(row)
    return rows, unspelled


def translation_table(
    foreign: list[npt.NDArray[np.int32]],
    english: list[npt.NDArray[np.int32]],
    size: int,
    iterations: int,
) -> npt.NDArray[np.float32]:
    """Estimate which English pieces a foreign piece stands for.

    Args:
        foreign: Pieces of each foreign sentence.
        english: Pieces of each English side.
        size: Number of pieces in the shared vocabulary.
        iterations: Steps of expectation and maximisation.

    Returns:
        Probability of an English piece given a foreign one, `(size, size)`; a row that no
        sentence has is zero.

    Source:
        IBM model 1, Brown et al. 1993, https://aclanthology.org/J93-2003/
    """
    null = CONTROL.index("<s>")
    cells, widths = [], []
    for source, target in zip(foreign, english, strict=True):
        candidates = np.append(source, null).astype(np.int64)
        cells.append((candidates * size + target[:, None]).ravel())
        widths.append(np.full(len(target), len(candidates), np.int32))
    cell = np.concatenate(cells)
    width = np.concatenate(widths)
    starts = np.concatenate([[0], np.cumsum(width)[:-1]])
    table = np.ones(size * size, np.float32)
    for _ in range(iterations):
        share = table[cell]
        share /= np.repeat(np.add.reduceat(share, starts), width)
        counts = np.bincount(cell, share, size * size).reshape(size, size)
        table = (counts / np.maximum(counts.sum(1, keepdims=True), 1e-9)).astype(np.float32).ravel()
    return table.reshape(size, size)


def aligned_rows(
    rows: torch.Tensor, corpus: Corpus, tokenizer: Tokenizer, recipe: EncoderRecipe
) -> torch.Tensor:
    """Move the rows of foreign pieces to the English pieces they translate into.

    A piece that both sides use is placed between its spelling and its translation, by how
    often each side uses it.

    Args:
        rows: Rows placed by spelling, `(pieces, width)`.
        corpus: Translation pairs.
        tokenizer: The shared tokenizer.
        recipe: How many pairs, how many iterations.

    Returns:
        The rows after alignment, `(pieces, width)`.

    Source:
        The idea of placing a new vocabulary through a dictionary is that of WECHSEL,
        Minixhofer et al. 2022, https://arxiv.org/abs/2112.06598
    """
    chooser = random.Random(recipe.seed)
    pairs = []
    for items in corpus.sentences.values():
        pairs += chooser.sample(items, min(len(items), recipe.alignment_pairs))
    sides = [
        [
            np.asarray(e.ids, np.int32)
            for e in tokenizer.encode_batch(texts, add_special_tokens=False)
        ]
        for texts in (
            [pair.text for pair in pairs],
            [corpus.english[pair.english] for pair in pairs],
        )
    ]
    kept = [(f, e) for f, e in zip(*sides, strict=True) if 0 < len(f) <= 64 and 0 < len(e) <= 64]
    foreign, english = [f for f, _ in kept], [e for _, e in kept]
    size = rows.shape[0]
    table = translation_table(foreign, english, size, recipe.alignment_iterations)
    table[table < 0.02] = 0.0
    table /= np.maximum(table.sum(1, keepdims=True), 1e-9)
    translated = torch.from_numpy(table) @ rows
    foreign_count = np.bincount(np.concatenate(foreign), minlength=size)
    english_count = np.bincount(np.concatenate(english), minlength=size)
    share = foreign_count / np.maximum(foreign_count + english_count, 1)
    share[table.sum(1) == 0] = 0.0
    share[: len(CONTROL)] = 0.0
    weight = torch.from_numpy(share.astype(np.float32)).unsqueeze(1)
    log("student", pairs=len(kept), moved=int((share > 0.5).sum()))
    return rows * (1 - weight) + translated * weight


@torch.no_grad()
def build(
    corpus: Corpus, tokenizer: Tokenizer, recipe: EncoderRecipe
) -> XLMRobertaForSequenceClassification:
    """Build the student with the teacher's layers and an aligned vocabulary.

    Args:
        corpus: Translation pairs, for the alignment.
        tokenizer: The shared tokenizer.
        recipe: The student's shape.

    Returns:
        The student with a sentiment head, float32.
    """
    torch.manual_seed(recipe.seed)
    teacher = AutoModel.from_pretrained(teacher_folder(), dtype=torch.float32)
    rows, unspelled = spelled_rows(tokenizer, teacher)
    log("student", pieces=rows.shape[0], unspelled=len(unspelled))
    rows = aligned_rows(rows, corpus, tokenizer, recipe)
    config = configuration(teacher, recipe, rows.shape[0])
    student = XLMRobertaForSequenceClassification(config)
    embeddings, taught = student.roberta.embeddings, teacher.embeddings
    embeddings.word_embeddings.weight.copy_(rows)
    count = config.max_position_embeddings - FIRST_POSITION
    embeddings.position_embeddings.weight[FIRST_POSITION:] = taught.position_embeddings.weight[
        :count
    ]
    embeddings.token_type_embeddings.weight.copy_(taught.token_type_embeddings.weight[:1])
    embeddings.LayerNorm.load_state_dict(taught.LayerNorm.state_dict())
    for mine, theirs in zip(student.roberta.encoder.layer, teacher.encoder.layer, strict=False):
        mine.load_state_dict(theirs.state_dict())
    return student
