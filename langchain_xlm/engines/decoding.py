"""How the next token is chosen: settings, length limits, and what to try when a model loops."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from langchain_xlm.errors import ConfigurationError

if TYPE_CHECKING:
    from transformers import GenerationConfig

    from langchain_xlm.models.loading import LoadedCheckpoint

# A translation is rarely twice as long as its source in the same model's tokens; the constant
# leaves room for short sources. Rounded up to a power of two, so that few different limits
# arise and rows of near lengths share a batch.
_LENGTH_FACTOR = 2
_LENGTH_FLOOR = 32
_MIN_LIMIT = 64
# Output tokens of a decoder without positions (T5), where its source is not longer.
_UNLIMITED_OUTPUT = 512


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """Settings of decoding; None leaves each as the checkpoint has it.

    Attributes:
        num_beams: Hypotheses kept at a time; 1 is greedy, more is slower and mostly better.
        max_new_tokens: Upper limit for one piece, in tokens; None derives it from the piece.
        min_new_tokens: Lower limit for one piece, in tokens.
        length_penalty: Above 0 favours longer outputs of a beam search, below 0 shorter ones.
        no_repeat_ngram_size: Length of the token sequences that may not occur twice; 0 is off.
        repetition_penalty: Above 1 makes used tokens less likely (Keskar et al. 2019, section
            4.1, https://arxiv.org/abs/1909.05858).
        reverse_weight: What the model's own way back counts in the choice among the wordings of
            a beam search; 0 is off. See `engines.reranking`.
    """

    num_beams: int | None = None
    max_new_tokens: int | None = None
    min_new_tokens: int | None = None
    length_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    repetition_penalty: float | None = None
    reverse_weight: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work before any model is asked.

        Raises:
            ConfigurationError: A value out of range, named.
        """
        lowest = {"num_beams": 1, "max_new_tokens": 1, "min_new_tokens": 0}
        lowest["no_repeat_ngram_size"] = 0
        for name, low in lowest.items():
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < low):
                raise ConfigurationError(f"{name}={value!r} must be a whole number from {low} up.")
        if self.repetition_penalty is not None and not self.repetition_penalty > 0:
            raise ConfigurationError(
                f"repetition_penalty={self.repetition_penalty!r} must be above 0; 1.0 is off."
            )
        if self.reverse_weight is not None and not 0 <= self.reverse_weight < math.inf:
            raise ConfigurationError(
                f"reverse_weight={self.reverse_weight!r} must be 0, which is off, or above."
            )
        least, most = self.min_new_tokens, self.max_new_tokens
        if least is not None and most is not None and least > most:
            raise ConfigurationError(f"min_new_tokens={least} is above max_new_tokens={most}.")


@dataclass(frozen=True, slots=True)
class Plan:
    """What the rows of one batch share.

    Attributes:
        target_id: Id of the language token that must be generated first; None for none.
        limit: Tokens that a row may have, beginning with the first generated one.
        settings: The rest.
    """

    target_id: int | None
    limit: int
    settings: GenerationSettings


@dataclass(frozen=True, slots=True)
class Written:
    """One output of a model for one row.

    Attributes:
        ids: Its tokens, beginning with the forced one where one is forced; behind its end it may
            be filled up with padding.
        score: Mean log-probability of a token, as the beam search weighs length; 0 where only
            one output was asked for.
    """

    ids: list[int]
    score: float = 0.0


def length_limit(tokens: int, settings: GenerationSettings, *, decoder_window: int) -> int:
    """Decide how long the output for one source may get.

    It depends on this source alone: were it set by the longest row of a batch, a text could come
    out differently beside others.

    Args:
        tokens: Length of the source, special tokens included.
        settings: Its own limit holds where it has one.
        decoder_window: What the decoder can hold.

    Returns:
        The limit in tokens, at least 1.
    """
    if settings.max_new_tokens is not None:
        return min(settings.max_new_tokens, decoder_window)
    wanted = max(
        _MIN_LIMIT, _LENGTH_FACTOR * tokens + _LENGTH_FLOOR, 2 * (settings.min_new_tokens or 0)
    )
    return min(1 << (wanted - 1).bit_length(), decoder_window)


def retries(settings: GenerationSettings, *, default_beams: int) -> tuple[GenerationSettings, ...]:
    """Return what to try, in order, for an output that repeats itself.

    First the other kind of search with the repeated sequences forbidden, which keeps most of
    the wording; then greedily with used tokens made less likely, which a model that insists on
    one token cannot get round.

    Args:
        settings: What the looping output was made with.
        default_beams: The checkpoint's own number of beams.
    """
    greedy = (settings.num_beams or default_beams) == 1
    return (
        replace(
            settings, num_beams=4 if greedy else 1, no_repeat_ngram_size=4, repetition_penalty=1.1
        ),
        replace(settings, num_beams=1, no_repeat_ngram_size=3, repetition_penalty=1.5),
    )


def generation_config(
    defaults: GenerationConfig, plan: Plan, *, wordings: int = 1
) -> GenerationConfig:
    """Make the configuration of one batch; the checkpoint's own is copied, never changed.

    Args:
        defaults: The checkpoint's.
        plan: What the batch shares.
        wordings: How many outputs each row should get, at most the number of beams.

    Returns:
        A new configuration: no sampling (the same text must give the same result), nothing
        forced at the end (a row that ends at the limit must be seen to be unfinished).
    """
    config = copy.deepcopy(defaults)
    config.do_sample = False
    config.num_return_sequences = wordings
    config.return_dict_in_generate = config.output_scores = wordings > 1
    for sampling in ("temperature", "top_k", "top_p", "min_p", "typical_p"):
        setattr(config, sampling, None)
    if plan.target_id is not None:
        config.forced_bos_token_id = plan.target_id
    config.forced_eos_token_id = None
    config.max_length = None
    for field in fields(GenerationSettings):
        value = getattr(plan.settings, field.name)
        if value is not None:
            setattr(config, field.name, value)
    config.max_new_tokens = plan.limit
    if config.min_new_tokens is not None:
        config.min_length = None
        config.min_new_tokens = min(config.min_new_tokens, plan.limit)
    if config.num_beams in {None, 1}:
        # Settings of a beam search that has not been asked for.
        config.length_penalty = None
        config.early_stopping = None
    return config


def decoder_window(loaded: LoadedCheckpoint) -> int:
    """Return how many tokens the decoder can hold, its start token left out.

    Args:
        loaded: The model.

    Returns:
        The longest output, in tokens.
    """
    config = getattr(loaded.config, "decoder", loaded.config)
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:  # relative positions have no end; this is where it stops to make sense
        return max(_UNLIMITED_OUTPUT, loaded.window)
    # The last token is never read, so the start token takes its position.
    return int(positions) - loaded.family.position_offset
