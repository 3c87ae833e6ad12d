"""The shared vocabulary: SentencePiece unigram with bytes, in the layout of XLM-R."""

from __future__ import annotations

import io
import json
import random
from collections import defaultdict
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from training.corpus import XED_LANGUAGES, Corpus, Labelled
from training.progress import log
from training.recipe import VocabularyRecipe

CONTROL = ("<s>", "<pad>", "</s>", "<unk>")
MASK = "<mask>"
LANGUAGES = ("en", "de", "fr", "es", "nl", "ja", "tr", "zh")
LANGUAGE_TOKENS = {code: f"__{code}__" for code in LANGUAGES}
METASPACE = "\u2581"
FULL_WIDTH = "\uff0c\uff01\uff1f\uff1a\uff1b\uff08\uff09"
PRIVATE = 0xE000


def normalizer() -> normalizers.Normalizer:
    """NFKC as in XLM-R, except that Chinese and Japanese punctuation keeps its width.

    A translation is written with these pieces, and half-width punctuation in Chinese or
    Japanese text is a spelling mistake.
    """
    protected = [(mark, chr(PRIVATE + i)) for i, mark in enumerate(FULL_WIDTH)]
    return normalizers.Sequence(
        [
            normalizers.Nmt(),
            *(normalizers.Replace(mark, private) for mark, private in protected),
            normalizers.NFKC(),
            *(normalizers.Replace(private, mark) for mark, private in protected),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )


def _lines(
    corpus: Corpus, sentiment: dict[str, list[Labelled]], recipe: VocabularyRecipe
) -> list[str]:
    """Draw the lines the vocabulary is made from, each language by its size to a power."""
    by_language: dict[str, list[str]] = defaultdict(list)
    for pairs in (corpus.sentences, corpus.joined):
        for language, items in pairs.items():
            by_language[language] += [item.text for item in items]
    by_language["en"] = list(corpus.english)
    for source, texts in sentiment.items():
        code = source.split(".")[1] if source.startswith("xed.") else source[:2]
        by_language[XED_LANGUAGES.get(code, code)] += [text.text for text in texts]
    chooser = random.Random(recipe.seed)
    sizes = {code: len(texts) ** recipe.sampling_exponent for code, texts in by_language.items()}
    scale = recipe.sampled_lines / sum(sizes.values())
    lines: list[str] = []
    for code in sorted(by_language):
        texts = by_language[code]
        wanted = int(scale * sizes[code])
        if wanted > len(texts):
            lines += texts
            lines += chooser.choices(texts, k=min(wanted - len(texts), len(texts)))
        else:
            lines += chooser.sample(texts, wanted)
    chooser.shuffle(lines)
    normalize = normalizer().normalize_str
    return [normalize(line[: recipe.max_characters]) for line in lines]


def train_pieces(lines: list[str], recipe: VocabularyRecipe) -> bytes:
    """Train the SentencePiece model.

    Digits are single pieces, so that numbers are copied and not learnt by heart.

    Args:
        lines: Training text.
        recipe: Size and coverage.

    Returns:
        The serialised SentencePiece model.

    Source:
        Kudo 2018, https://arxiv.org/abs/1804.10959; layout of the identifiers:
        Conneau et al. 2020, https://arxiv.org/abs/1911.02116
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="unigram",
        vocab_size=recipe.pieces,
        character_coverage=recipe.character_coverage,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        bos_id=0,
        pad_id=1,
        eos_id=2,
        unk_id=3,
        bos_piece=CONTROL[0],
        pad_piece=CONTROL[1],
        eos_piece=CONTROL[2],
        unk_piece=CONTROL[3],
        max_sentence_length=8192,
        num_threads=2,
        minloglevel=1,
        hard_vocab_limit=False,
    )
    return model.getvalue()


def fast_tokenizer(model: bytes) -> Tokenizer:
    """Write a SentencePiece model as a `tokenizer.json`, bytes and normalisation included.

    Args:
        model: The serialised SentencePiece model.

    Returns:
        The tokenizer: `<s> text </s>` for one text, `<s> a </s></s> b </s>` for two.
    """
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model)
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=CONTROL.index("<unk>"), byte_fallback=True))
    tokenizer.normalizer = normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement=METASPACE, prepend_scheme="always"
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(METASPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    added = [*CONTROL, MASK, *LANGUAGE_TOKENS.values()]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in added])
    start, end = CONTROL.index("<s>"), CONTROL.index("</s>")
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", start), ("</s>", end)],
    )
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path, *, max_tokens: int) -> None:
    """Write the files that `AutoTokenizer` reads.

    Args:
        tokenizer: The tokenizer.
        folder: Where the checkpoint is.
        max_tokens: The window to declare, control symbols included.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    configuration = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "cls_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": MASK,
        "additional_special_tokens": list(LANGUAGE_TOKENS.values()),
        "model_max_length": max_tokens,
        "padding_side": "right",
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
    }
    text = json.dumps(configuration, indent=2, ensure_ascii=False)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


def run(
    corpus: Corpus, sentiment: dict[str, list[Labelled]], work: Path, recipe: VocabularyRecipe
) -> Tokenizer:
    """Make the vocabulary, or read back the one made before.

    Args:
        corpus: The training sentences.
        sentiment: The labelled texts to train on, by source.
        work: Folder of the recipe's intermediate products.
        recipe: Size, coverage and seed.

    Returns:
        The tokenizer of all starter checkpoints.
    """
    path = work / "vocabulary" / "tokenizer.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = _lines(corpus, sentiment, recipe)
        tokenizer = fast_tokenizer(train_pieces(lines, recipe))
        tokenizer.save(str(path))
        log("vocabulary", lines=len(lines), size=tokenizer.get_vocab_size())
    return Tokenizer.from_file(str(path))
