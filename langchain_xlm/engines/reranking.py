"""The choice among several wordings of a translation, by the way back to the source.

A beam search finds wordings that are likely as texts of the target language; some say less, or
something else, than the source. A model that translates both ways can tell: from a wording that
lost something the source is hard to guess. Each wording counts with

    log p(wording | source) / |wording|  +  reverse_weight * log p(source | wording) / |source|

with lengths in the model's own tokens (the first part weighs length as the beam search does).

Source:
    Yee et al. 2019, section 2, https://arxiv.org/abs/1908.05731, without their language model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_xlm.engines.decoding import GenerationSettings, Written
from langchain_xlm.engines.directions import Direction, ModelInfo, find_direction
from langchain_xlm.engines.opening import Writer
from langchain_xlm.engines.wording import Wording
from langchain_xlm.errors import ConfigurationError, UnsupportedLanguageError

if TYPE_CHECKING:
    from transformers import GenerationConfig

__all__ = ["Reranker", "Source"]


@dataclass(frozen=True, slots=True)
class Source:
    """What a wording is led back to.

    Attributes:
        direction: From the target's language to the source's.
        ids: The source as the model would write it: its language token, its tokens, the end.
    """

    direction: Direction
    ids: list[int]


class Reranker:
    """Chooses among the wordings of one model; used on the worker's thread alone."""

    def __init__(
        self,
        info: ModelInfo,
        defaults: GenerationConfig,
        *,
        writer: Writer,
        wording: Wording,
        decoder_window: int,
    ) -> None:
        """Describe the model.

        Args:
            info: What it is.
            defaults: The checkpoint's generation settings, complete; `reverse_weight` in them
                holds where a request names none.
            writer: The model.
            wording: Its tokenizer.
            decoder_window: The longest output that it can hold, in tokens.
        """
        self._info = info
        self._defaults = defaults
        self._writer = writer
        self._wording = wording
        self._decoder_window = decoder_window
        ends = defaults.eos_token_id
        self._end: int = ends[0] if isinstance(ends, list) else ends

    def reverse(self, direction: Direction, settings: GenerationSettings) -> Direction | None:
        """Turn a direction round, where the settings ask for the way back.

        Args:
            direction: From the source to the target.
            settings: How to decode.

        Returns:
            From the target to the source; None where there is nothing to choose by: it is off,
            the language of the source is not known, or the checkpoint asks for it where it cannot
            be had.

        Raises:
            ConfigurationError: The request asks for it, and the model does not translate both
                ways or keeps one wording alone.
        """
        if not self._weight(settings):
            return None
        if fault := self._fault(direction, settings):
            if settings.reverse_weight is None:
                return None
            raise ConfigurationError(f"reverse_weight={settings.reverse_weight!r} {fault}")
        if direction.source is None:
            return None
        try:
            return find_direction(self._info, "", source=direction.target, target=direction.source)
        except UnsupportedLanguageError:  # a source that it was told of, but cannot write
            return None

    def source(self, ids: Sequence[int], reverse: Direction) -> Source | None:
        """Prepare the tokens of a source for being led back to.

        Args:
            ids: The source's tokens as the model reads them.
            reverse: From the target's language to the source's.

        Returns:
            The source; None where the decoder cannot hold it.
        """
        assert reverse.target_token is not None, "the way back has a target"
        own = [token for token in ids if token not in self._wording.special]
        written = [self._wording.token_id(reverse.target_token), *own, self._end]
        return Source(reverse, written) if own and len(written) <= self._decoder_window else None

    def wordings(self, sources: Sequence[Source | None], settings: GenerationSettings) -> int:
        """Tell how many wordings of each row are worth having: all that a search keeps, or one."""
        return self._beams(settings) if any(sources) else 1

    def choose(
        self,
        candidates: Sequence[Sequence[tuple[Written, str]]],
        sources: Sequence[Source | None],
        settings: GenerationSettings,
    ) -> list[int]:
        """Choose one of the wordings of each row.

        Args:
            candidates: The wordings of each row, tokens and text, the most likely first.
            sources: What each row is led back to; None leaves its most likely wording.
            settings: How they were decoded.

        Returns:
            The place of the chosen wording of each row.
        """
        chosen = [0] * len(candidates)
        asked: list[tuple[int, int]] = []
        rows: list[list[int]] = []
        targets: list[list[int]] = []
        for row, (wordings, source) in enumerate(zip(candidates, sources, strict=True)):
            # Of wordings that differ in their tokens alone, the likeliest; none that says nothing.
            places = {text: place for place, (_, text) in reversed([*enumerate(wordings)]) if text}
            if source is None or len(places) < 2:
                continue
            encoded = self._wording.encode([*places], source.direction)
            if max(map(len, encoded)) > self._info.window:
                continue
            asked += [(row, place) for place in places.values()]
            rows += encoded
            targets += [source.ids] * len(places)
        best: dict[int, float] = {}
        weight = self._weight(settings)
        for (row, place), back in zip(asked, self._judge(rows, targets), strict=True):
            total = candidates[row][place][0].score + weight * back
            if total > best.get(row, -math.inf):
                best[row], chosen[row] = total, place
        return chosen

    def _judge(self, rows: list[list[int]], targets: list[list[int]]) -> list[float]:
        """Score targets given rows, near lengths together; the results are in their order."""
        if not rows:
            return []
        order = sorted(range(len(rows)), key=lambda at: (len(targets[at]), len(rows[at])))
        scores = self._writer.score([rows[at] for at in order], [targets[at] for at in order])
        return [score for _, score in sorted(zip(order, scores, strict=True))]

    def _fault(self, direction: Direction, settings: GenerationSettings) -> str | None:
        if self._info.family.target != "first-token" or self._info.languages is None:
            return (
                "needs a model that translates both ways and is told the target by its first"
                f" token, as M2M100, NLLB, mBART-50 and the starter are; {self._info.model!r} is"
                " none. Leave it out."
            )
        if not direction.forced:
            return "needs a target language."
        if self._beams(settings) == 1:
            return (
                f"chooses among the wordings of a beam search, and {self._info.model!r} keeps one:"
                " give num_beams, 4 for example."
            )
        return None

    def _weight(self, settings: GenerationSettings) -> float:
        if settings.reverse_weight is not None:
            return settings.reverse_weight
        return float(getattr(self._defaults, "reverse_weight", None) or 0.0)

    def _beams(self, settings: GenerationSettings) -> int:
        return settings.num_beams or self._defaults.num_beams or 1
