"""The checkpoint with fewer pieces, by which trimming is judged, is right."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.vocabulary import STARTER, embedded, trim

pytestmark = pytest.mark.starter
TEXTS = ["The train to the sea leaves at eleven.", "Der Zug ans Meer fährt um elf."]


def test_texts_whose_pieces_stay_keep_their_vectors(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    whole = Tokenizer.from_file(str(STARTER / "tokenizer.json"))
    counts = Counter(number for text in TEXTS for number in whole.encode(text).ids)
    small = trim(tmp_path / "small", counts, at_least=1)
    pieces = Tokenizer.from_file(str(small / "tokenizer.json"))
    assert pieces.get_vocab_size() < whole.get_vocab_size() / 10
    for text in TEXTS:
        assert pieces.encode(text).tokens == whole.encode(text).tokens
    np.testing.assert_allclose(embedded(small, TEXTS), embedded(STARTER, TEXTS), atol=1e-5)
    # Another text falls apart into bytes, and loses nothing.
    other = pieces.encode("ありがとう", add_special_tokens=False)
    assert len(other.ids) > 5
    assert pieces.decode(other.ids).strip("▁ ") == "ありがとう"
