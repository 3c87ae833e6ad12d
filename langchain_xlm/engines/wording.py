"""Source texts to tokens, each family's language token where it belongs, and tokens to text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from langchain_xlm.engines.directions import Direction
from langchain_xlm.errors import ModelRunError
from langchain_xlm.models.loading import LoadedCheckpoint


class Wording:
    """The tokenizer of a loaded sequence-to-sequence model; used on the worker's thread alone.

    Attributes:
        special: Ids that mean something to the model and stand for no text: ends, padding,
            languages. The id of unknown characters is not among them.
    """

    def __init__(self, loaded: LoadedCheckpoint) -> None:
        """Learn the special tokens.

        Args:
            loaded: The model that the tokens are for.
        """
        self._tokenizer = loaded.tokenizer
        self._model = loaded.spec.model
        spellings = {*self._tokenizer.all_special_tokens, *loaded.language_tokens}
        spellings.discard(self._tokenizer.unk_token)
        self.special = frozenset(map(self._id_of, spellings)) - {self._tokenizer.unk_token_id}
        # The first character of each, so that a space can go behind it.
        self._spelling = re.compile(
            "|".join(f"{re.escape(token[0])}(?={re.escape(token[1:])})" for token in spellings)
        )

    def encode(self, texts: Sequence[str], direction: Direction) -> list[list[int]]:
        """Tokenize texts as the model was trained to read them.

        A text may hold the spelling of a special token ("</s>", "fra_Latn", ">>deu<<"). It is
        read as text, or it would end the sentence or change its language.

        Args:
            texts: Pieces of any length; nothing is cut.
            direction: Their languages.

        Returns:
            Ids with the tokenizer's own special tokens, one list for each text.
        """
        if not texts:
            return []
        if direction.source_code is not None:
            self._tokenizer.src_lang = direction.source_code
        before, after = direction.prefix, direction.suffix
        rows = self._tokenize([before + text + after for text in texts])
        framing = self._count_special(self._tokenize([before + after])[0])
        for place, text in enumerate(texts):
            # A Marian tokenizer without a prefix of its own takes any ">>…<<" for one.
            if text.startswith(">>") or self._count_special(rows[place]) > framing:
                spelled = self._spelling.sub(r"\g<0> ", " " + text)
                rows[place] = self._tokenize([before + spelled + after])[0]
        return rows

    def token_id(self, token: str) -> int:
        """Return the id of a token that must exist.

        Args:
            token: A language token.

        Returns:
            Its id.

        Raises:
            ModelRunError: The tokenizer does not know it.
        """
        found = self._id_of(token)
        # A tokenizer turns an unknown code into <unk> without a word.
        if found == self._tokenizer.unk_token_id:
            raise ModelRunError(self._model, f"its tokenizer has lost the token {token!r}")
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """Turn generated tokens into text.

        Args:
            ids: Tokens up to the end, that one left out.

        Returns:
            The text, without tokens that stand for none.
        """
        unknown = self._tokenizer.unk_token
        written = [
            token
            for token in ids
            # Some checkpoints have rows for tokens that no text was ever given.
            if token not in self.special
            and self._tokenizer.convert_ids_to_tokens(token) not in {unknown, None}
        ]
        text = self._tokenizer.decode(written, skip_special_tokens=True)
        return str(text).strip()

    def _id_of(self, token: str) -> int:
        found: Any = self._tokenizer.convert_tokens_to_ids(token)
        return int(found)

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        encoded = self._tokenizer(
            texts,
            padding=False,
            truncation=False,
            return_attention_mask=False,
            verbose=False,
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def _count_special(self, ids: Sequence[int]) -> int:
        return sum(token in self.special for token in ids)
