"""Small real tokenizers, trained in memory on the sentences below.

Each is saved in the format of the published checkpoints; stock AutoTokenizer loads it.
"""

from __future__ import annotations

import functools
import io
import json
import string
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LANGUAGES = ("en", "de", "fr", "es", "nl", "ja", "tr", "zh")
"""What the tiny encoder-decoder knows, as the bundled translation model does."""

SENTENCES = (
    "The weather is nice today and the children play in the garden.",
    "She reads a good book about the history of the city.",
    "Where is the station? The train to Berlin leaves at nine.",
    "Sentence number 12 of 345 is not longer than 67 or 890 words.",
    "Das Wetter ist heute schön und die Kinder spielen im Garten.",
    "Sie liest ein gutes Buch über die Geschichte der Stadt.",
    "Wo ist der Bahnhof? Der Zug nach Berlin fährt um neun Uhr.",
    "Il fait beau aujourd'hui et les enfants jouent dans le jardin.",
    "Elle lit un bon livre sur l'histoire de la ville.",
    "Où est la gare ? Le train pour Berlin part à neuf heures.",
    "Hoy hace buen tiempo y los niños juegan en el jardín.",
    "¿Dónde está la estación? El tren a Berlín sale a las nueve.",
    "Het is vandaag mooi weer en de kinderen spelen in de tuin.",
    "Bugün hava güzel ve çocuklar bahçede oynuyor.",
    "今日は天気が良くて、子供たちは庭で遊んでいます。",
    "今天天气很好，孩子们在花园里玩。",
    "Сегодня хорошая погода, и дети играют в саду.",
    "الطقس جميل اليوم والأطفال يلعبون في الحديقة.",
)

_LATIN = "ÀÁÂÄÇÈÉÊËÍÎÏÑÓÔÖÙÚÛÜàáâäçèéêëíîïñóôöùúûüßğışİĞŞŸÿœæ¿¡«»’“”–…€"


@functools.lru_cache(maxsize=4)
def sentencepiece_model(pieces: int = 400) -> bytes:
    """Train a unigram SentencePiece model; the same bytes on every call."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 3),
        model_writer=written,
        vocab_size=pieces,
        hard_vocab_limit=False,
        character_coverage=1.0,
        required_chars=string.ascii_letters + string.digits + string.punctuation + _LATIN,
        num_threads=1,
        minloglevel=3,
    )
    return written.getvalue()


def unigram_pieces(pieces: int = 400) -> list[tuple[str, float]]:
    """The pieces of `sentencepiece_model` with their log probabilities, special ones left out."""
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model(pieces))
    return [
        (model.id_to_piece(index), model.get_score(index))
        for index in range(model.get_piece_size())
        if not model.is_control(index) and not model.is_unknown(index)
    ]


def xlm_roberta_tokenizer(folder: Path, *, window: int, languages: tuple[str, ...] = ()) -> int:
    """Save an XLM-R tokenizer, with a token `__xx__` for each language; return its size."""
    from transformers import XLMRobertaTokenizer

    head = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    tokens = [f"__{language}__" for language in languages]
    tokenizer = XLMRobertaTokenizer(
        vocab=[*head, *unigram_pieces(), ("<mask>", 0.0)],
        model_max_length=window,
        extra_special_tokens=tokens,
    )
    return _save(tokenizer, folder)


def nllb_tokenizer(folder: Path) -> int:
    """Save an NLLB tokenizer with its 202 languages; return its size."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import Metaspace
    from tokenizers.trainers import BpeTrainer
    from transformers import NllbTokenizer

    trained = Tokenizer(BPE(unk_token="<unk>"))
    trained.pre_tokenizer = Metaspace()
    trained.train_from_iterator(
        SENTENCES,
        BpeTrainer(
            vocab_size=500,
            special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
            initial_alphabet=[*string.printable, *_LATIN],
            show_progress=False,
        ),
    )
    model = json.loads(trained.to_str())["model"]
    tokenizer = NllbTokenizer(
        vocab=model["vocab"],
        merges=[tuple(merge) for merge in model["merges"]],
        model_max_length=1024,
    )
    return _save(tokenizer, folder)


def mbart50_tokenizer(folder: Path) -> int:
    """Save an mBART-50 tokenizer with its 52 languages; return its size."""
    from transformers import MBart50Tokenizer

    # The class drops the three control pieces at the start of a SentencePiece vocabulary.
    control = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
    tokenizer = MBart50Tokenizer(vocab=[*control, *unigram_pieces()], model_max_length=1024)
    return _save(tokenizer, folder)


def mt5_tokenizer(folder: Path) -> int:
    """Save an mT5 tokenizer; return its size."""
    from transformers import T5Tokenizer

    head = [(token, 0.0) for token in ("<pad>", "</s>", "<unk>")]
    tokenizer = T5Tokenizer(vocab=[*head, *unigram_pieces()], extra_ids=0)
    return _save(tokenizer, folder)


def m2m100_tokenizer(folder: Path) -> int:
    """Save an M2M100 tokenizer with its 100 languages; return the rows the model needs."""
    from transformers import M2M100Tokenizer
    from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

    folder.mkdir(parents=True, exist_ok=True)
    pieces = [piece for piece, _ in unigram_pieces()]
    vocabulary = {
        piece: index for index, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", *pieces])
    }
    vocab_file, model_file = folder / "vocab.json", folder / "sentencepiece.bpe.model"
    vocab_file.write_text(json.dumps(vocabulary), encoding="utf-8")
    model_file.write_bytes(sentencepiece_model())
    tokenizer = M2M100Tokenizer(
        str(vocab_file),
        str(model_file),
        model_max_length=1024,
        # As in the published checkpoints: special, so that decoding leaves them out.
        additional_special_tokens=[f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]],
    )
    tokenizer.save_pretrained(folder)
    # `len` leaves out the language tokens; the model also has rows for made-up words.
    return max(tokenizer.lang_token_to_id.values()) + 1 + tokenizer.num_madeup_words


def marian_tokenizer(
    folder: Path, *, targets: tuple[str, ...], source_lang: str, target_lang: str, window: int
) -> int:
    """Save a Marian tokenizer with a token `>>xxx<<` for each target; return its size."""
    from transformers import MarianTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    pieces = [piece for piece, _ in unigram_pieces()]
    tokens = ["</s>", "<unk>", *(f">>{target}<<" for target in targets), *pieces, "<pad>"]
    (folder / "vocab.json").write_text(
        json.dumps({token: index for index, token in enumerate(tokens)}), encoding="utf-8"
    )
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(sentencepiece_model())
    tokenizer = MarianTokenizer(
        str(folder / "source.spm"),
        str(folder / "target.spm"),
        str(folder / "vocab.json"),
        source_lang=source_lang,
        target_lang=target_lang,
        model_max_length=window,
    )
    tokenizer.save_pretrained(folder)
    return len(tokens)


def xlm_tokenizer(folder: Path, *, window: int, languages: tuple[str, ...]) -> int:
    """Save an XLM tokenizer (byte-pair pieces that end in `</w>`); return its size."""
    from transformers import XLMTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    special = ["<s>", "</s>", "<pad>", "<unk>", *(f"<special{n}>" for n in range(10))]
    characters = string.ascii_letters + string.digits + string.punctuation + _LATIN
    # Beginnings of words, in the order of the sentences: the trainer of the tokenizers package
    # chooses among equally frequent pairs anew in each process.
    vocabulary = dict.fromkeys([*special, *characters, *(f"{each}</w>" for each in characters)])
    merges: dict[str, None] = {}
    for word in " ".join(SENTENCES).split():
        beginning, *rest = *word[:-1], f"{word[-1]}</w>"
        vocabulary |= dict.fromkeys([beginning, *rest])
        for piece in rest:
            if len(vocabulary) < 600:
                merges[f"{beginning} {piece}"] = None
                vocabulary[beginning + piece] = None
            beginning += piece
    numbers = {piece: number for number, piece in enumerate(vocabulary)}
    (folder / "vocab.json").write_text(json.dumps(numbers), encoding="utf-8")
    (folder / "merges.txt").write_text("".join(f"{each}\n" for each in merges), encoding="utf-8")
    tokenizer = XLMTokenizer(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        do_lowercase_and_remove_accent=False,
        lang2id={language: index for index, language in enumerate(languages)},
        id2lang={str(index): language for index, language in enumerate(languages)},
        model_max_length=window,
    )
    tokenizer.save_pretrained(folder)
    return len(vocabulary)


def bert_tokenizer(folder: Path, *, window: int) -> int:
    """Save the XLM-R tokenizer as multilingual MiniLM has it beside a BERT model."""
    return xlm_roberta_tokenizer(folder, window=window)


def _save(tokenizer: PreTrainedTokenizerBase, folder: Path) -> int:
    tokenizer.save_pretrained(folder)
    return len(tokenizer)
