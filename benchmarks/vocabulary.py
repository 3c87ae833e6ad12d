"""What leaving pieces out of the vocabulary saves and costs, beside storing all of them in 8 bits.

    python -m benchmarks.vocabulary --data DIR [--json FILE]

The starter's encoder is saved again with the pieces that sentences of a few languages use, and
judged in these languages and in another. DIR has `train/tatoeba` to count pieces in, and
`eval/ntrex` and `eval/jsts` to judge with. The table goes into `docs/hardware.md`.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.checkpoints import STARTER, write_json
from benchmarks.vocabulary_page import FIGURES, PAGE, write_page

if TYPE_CHECKING:
    from numpy.typing import NDArray

LANGUAGES = ("en", "de", "ja")
OUTSIDE = "tr"
PIECES, WIDTH = 250_002, 768
"""Of XLM-R-base."""
_COUNTED = 30_000
_SENTENCES, _PAIRS = 400, 500
_TATOEBA = {"de": "deu", "ja": "jpn"}
_NTREX = {"en": "eng-US", "de": "deu", "ja": "jpn", "tr": "tur"}


def counted_pieces(data: Path) -> Counter[int]:
    """Count the pieces of sentences that nothing is judged with.

    Args:
        data: The folder of texts.

    Returns:
        How often each piece of the starter's vocabulary is used.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(STARTER / "tokenizer.json"))
    counts: Counter[int] = Counter()
    for language in LANGUAGES:
        path = data / "train" / "tatoeba" / f"{_TATOEBA.get(language, 'deu')}-eng.train.tsv"
        with path.open(encoding="utf-8") as lines:
            column = 0 if language == "en" else 1
            texts = [line.rstrip("\n").split("\t")[column] for line in islice(lines, _COUNTED)]
        for encoding in tokenizer.encode_batch(texts):
            counts.update(encoding.ids)
    return counts


def trim(folder: Path, counts: Counter[int], *, at_least: int) -> Path:
    """Save the starter's encoder with fewer pieces.

    Args:
        folder: Where it goes.
        counts: How often each piece was used.
        at_least: How often a piece must have been used; special ones and single bytes stay.

    Returns:
        The folder.
    """
    from safetensors.torch import load_file, save_file

    shutil.copytree(STARTER, folder)
    settings = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    pieces = settings["model"]["vocab"]
    added = {token["id"] for token in settings["added_tokens"]}
    kept = [
        number
        for number in range(max(len(pieces), max(added) + 1))
        if number in added or pieces[number][0].startswith("<0x") or counts[number] >= at_least
    ]
    place = {old: new for new, old in enumerate(kept)}
    settings["model"]["vocab"] = [pieces[number] for number in kept if number < len(pieces)]
    for token in settings["added_tokens"]:
        token["id"] = place[token["id"]]
    write_json(folder / "tokenizer.json", settings)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    write_json(folder / "config.json", config | {"vocab_size": len(kept)})
    weights = load_file(folder / "model.safetensors")
    name = vocabulary_name(weights)
    weights[name] = weights[name][kept].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def in_8_bits(folder: Path, source: Path) -> Path:
    """Save an encoder whose vocabulary was rounded to 8 bits and is float again.

    Args:
        folder: Where it goes.
        source: The encoder.

    Returns:
        The folder.
    """
    from safetensors.torch import load_file, save_file

    from langchain_xlm.models.int8 import quantize_rows

    shutil.copytree(source, folder)
    weights = load_file(folder / "model.safetensors")
    name = vocabulary_name(weights)
    rows, scales = quantize_rows(weights[name].float())
    weights[name] = (rows * scales).to(weights[name].dtype)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def vocabulary_name(weights: dict[str, Any]) -> str:
    return next(name for name in weights if name.endswith("word_embeddings.weight"))


def embedded(folder: Path, texts: Sequence[str]) -> NDArray[np.float64]:
    from langchain_xlm import XLMEmbeddings

    vectors = np.array(XLMEmbeddings(model=str(folder), dtype="float32").embed_documents([*texts]))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float64)


def judge(folder: Path, data: Path) -> dict[str, float]:
    """Embed and compare.

    Args:
        folder: An encoder.
        data: The folder of texts.

    Returns:
        Per cent: translations of English that are found among `_SENTENCES`, in both directions, and
        the rank correlation with people's judgements (JSTS, `_PAIRS`); tokens for each text of the
        languages, and of the one outside.
    """
    from scipy.stats import spearmanr
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    news = {
        language: (data / "eval" / "ntrex" / f"newstest2019-ref.{name}.txt")
        .read_text("utf-8")
        .splitlines()[:_SENTENCES]
        for language, name in _NTREX.items()
    }
    vectors = {language: embedded(folder, texts) for language, texts in news.items()}
    found: dict[str, float] = {}
    for language in news:
        if language == "en":
            continue
        likeness = vectors["en"] @ vectors[language].T
        right = np.arange(len(likeness))
        both = [(likeness.argmax(axis) == right).mean() for axis in (0, 1)]
        found[f"retrieval_{language}"] = 100 * float(np.mean(both))
    rows = [
        line.split("\t")
        for line in (data / "eval" / "jsts" / "test.tsv").read_text("utf-8").splitlines()
    ][:_PAIRS]
    left, right_side = (embedded(folder, [row[at] for row in rows]) for at in (1, 2))
    scores = [float(row[0]) for row in rows]
    found["jsts"] = 100 * float(spearmanr((left * right_side).sum(1), scores)[0])
    for name, languages in (("tokens", LANGUAGES), ("tokens_outside", (OUTSIDE,))):
        texts = [text for language in languages for text in news[language]]
        sizes = [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]
        found[name] = float(np.mean(sizes))
    return found


def tokenizer_cost(pieces: int) -> dict[str, float]:
    """Measure a tokenizer of made-up pieces.

    Args:
        pieces: How many.

    Returns:
        Bytes that it takes in memory, and seconds for reading it.
    """
    from tokenizers import Tokenizer, models

    random = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    names = {"<unk>"}
    while len(names) < pieces:
        names.add("▁" + "".join(random.choice(letters, int(random.integers(3, 9)))))
    vocabulary = [(name, -10.0 - at / pieces) for at, name in enumerate(sorted(names))]
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "tokenizer.json")
        Tokenizer(models.Unigram(vocabulary, unk_id=0)).save(path)
        del vocabulary, names
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        before, start = _resident(), time.perf_counter()
        kept = Tokenizer.from_file(path)
        taken = time.perf_counter() - start
        ctypes.CDLL(None).malloc_trim(0)
        size = _resident() - before
        assert kept.get_vocab_size() == pieces
    return {"pieces": pieces, "bytes": size, "seconds": taken}


def _resident() -> int:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def main() -> None:
    """Measure, and write the figures and the page."""
    from benchmarks.memory import machine_of

    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path, default=FIGURES)
    given = parser.parse_args()
    tokenizers = [tokenizer_cost(pieces) for pieces in (PIECES, PIECES // 4)]
    counts = counted_pieces(given.data)
    rows = []
    with tempfile.TemporaryDirectory() as work:
        whole = Path(shutil.copytree(STARTER, Path(work) / "whole"))
        folders = {
            "whole, 32 bits": whole,
            "whole, 8 bits": in_8_bits(Path(work) / "whole-8", whole),
            "used once or more, 32 bits": trim(Path(work) / "used", counts, at_least=1),
            "used five times or more, 32 bits": trim(Path(work) / "often", counts, at_least=5),
        }
        for name, folder in folders.items():
            config = json.loads((folder / "config.json").read_text("utf-8"))
            each = 4 * config["hidden_size"] if "32" in name else config["hidden_size"] + 4
            row = {"name": name, "pieces": config["vocab_size"], "bytes": each}
            row["bytes"] *= row["pieces"]
            rows.append(row | judge(folder, given.data))
            print(rows[-1], flush=True)
            write_json(given.json.with_suffix(".part.json"), rows)
    given.json.with_suffix(".part.json").unlink()
    figures = {
        "machine": machine_of(),
        "languages": LANGUAGES,
        "outside": OUTSIDE,
        "counted": _COUNTED,
        "sentences": _SENTENCES,
        "pairs": _PAIRS,
        "shape": {"pieces": PIECES, "width": WIDTH},
        "tokenizers": tokenizers,
        "rows": rows,
    }
    write_json(given.json, figures)
    if given.json == FIGURES:
        write_page(FIGURES, PAGE)


if __name__ == "__main__":
    main()
