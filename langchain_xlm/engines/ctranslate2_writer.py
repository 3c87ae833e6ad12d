"""Tokens to tokens with CTranslate2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_xlm.engines.decoding import Plan, Written, generation_config
from langchain_xlm.models.conversion import spell
from langchain_xlm.models.converted import ConvertedModel

if TYPE_CHECKING:
    from transformers import GenerationConfig

# Settings that are read below, and those that change nothing here: what is set anew for every
# batch, how transformers computes and what it returns, and `renormalize_logits`, which CTranslate2
# does always.
_READ = frozenset({
    "bad_words_ids", "early_stopping", "eos_token_id",
    "forced_bos_token_id", "length_penalty", "max_new_tokens", "min_length", "min_new_tokens",
    "no_repeat_ngram_size", "num_beams", "pad_token_id", "repetition_penalty", "reverse_weight",
    "suppress_tokens",
})  # fmt: skip
_WITHOUT_EFFECT = frozenset({
    "bos_token_id", "cache_config", "cache_implementation", "compile_config",
    "decoder_start_token_id", "disable_compile", "do_sample", "epsilon_cutoff", "eta_cutoff",
    "forced_eos_token_id", "max_length", "min_p", "num_return_sequences", "output_attentions",
    "output_hidden_states", "output_logits", "output_scores", "renormalize_logits",
    "return_dict_in_generate", "temperature", "top_h", "top_k", "top_p", "transformers_version",
    "typical_p", "use_cache",
})  # fmt: skip


# Continuations, all beams counted. With half as many, halves of a batch side by side took as long
# as the whole, since each reads all weights; with twice as many 10% less (two Zen 4 cores, the
# shape of M2M100-418M in 8 bits).
_LEAST_DIVIDED = 64

# What means nothing without being empty or 0.
_OFF = (("num_beam_groups", 1), ("encoder_repetition_penalty", 1.0))


def unsupported(defaults: GenerationConfig) -> list[str]:
    """Name the settings of a checkpoint that CTranslate2 cannot follow.

    Args:
        defaults: The checkpoint's generation settings.

    Returns:
        Names, in alphabetical order.
    """
    changed = {
        name
        for name, value in defaults.to_diff_dict().items()
        if value and not name.startswith("_") and (name, value) not in _OFF
    }
    return sorted(changed - _READ - _WITHOUT_EFFECT)


class CTranslate2Writer:
    """A converted model that generates; used on the worker's thread alone."""

    def __init__(self, loaded: ConvertedModel, defaults: GenerationConfig) -> None:
        """Take over a model.

        Args:
            loaded: The model.
            defaults: The checkpoint's generation settings, complete.
        """
        self.memory_bytes = loaded.memory_bytes
        self._translator = loaded.translator
        self._defaults = defaults
        self._pad = defaults.pad_token_id

    def write(
        self, rows: Sequence[Sequence[int]], plan: Plan, *, wordings: int = 1
    ) -> list[list[Written]]:
        """Generate for each row of a batch.

        Args:
            rows: Source tokens of each row, at least one row.
            plan: What they share.
            wordings: Outputs for each row, at most the number of beams.

        Returns:
            So many outputs for each row, the most likely first, the end included.
        """
        config = generation_config(self._defaults, plan, wordings=wordings)
        forced = config.forced_bos_token_id
        options = self._options(config)
        lanes = min(self._translator.num_translators, len(rows))
        if len(rows) * options["beam_size"] < _LEAST_DIVIDED:
            lanes = 1
        results: list[Any] = [None] * len(rows)
        started = []
        for lane in range(lanes):
            part = slice(lane, None, lanes)  # rows come sorted, so that parts take about as long
            sources = [[self._spell(token) for token in row] for row in rows[part]]
            prefix = None if forced is None else [[self._spell(forced)]] * len(sources)
            writing = self._translator.translate_batch(
                sources,
                target_prefix=prefix,
                return_end_token=True,
                max_input_length=0,  # pieces fit the window; it would cut without a word
                num_hypotheses=wordings,
                return_scores=wordings > 1,
                asynchronous=True,
                **options,
            )
            started.append((part, writing))
        failures = []
        for part, writing in started:  # all end before one is told as failed
            try:
                results[part] = [each.result() for each in writing]
            except (RuntimeError, ValueError, MemoryError) as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return [
            [
                Written([self._read(token) for token in tokens], score)
                for tokens, score in zip(
                    result.hypotheses, result.scores or [0.0] * wordings, strict=True
                )
            ]
            for result in results
        ]

    def score(self, rows: Sequence[Sequence[int]], written: Sequence[Sequence[int]]) -> list[float]:
        """Tell how likely the model would have written something for each row.

        Args:
            rows: Source tokens of each row, at least one row.
            written: The tokens in question, the first of them given to the model and not judged.

        Returns:
            Mean log-probability of a token for each row.
        """
        results = self._translator.score_batch(
            [[self._spell(token) for token in row] for row in rows],
            [[self._spell(token) for token in tokens[:-1]] for tokens in written],
            max_input_length=0,
            max_batch_size=512,
            batch_type="tokens",
        )
        return [sum(each.log_probs[1:]) / (len(each.log_probs) - 1) for each in results]

    def _options(self, config: GenerationConfig) -> dict[str, Any]:
        """Say with CTranslate2's names what a configuration says with those of transformers."""
        ends = config.eos_token_id
        never = [*(config.bad_words_ids or ()), *([t] for t in config.suppress_tokens or ())]
        least = config.min_new_tokens
        if least is None:  # of the two, transformers counts the start token in this one
            least = max(0, (config.min_length or 0) - 1)
        return {
            "beam_size": config.num_beams or 1,
            "length_penalty": 1.0 if config.length_penalty is None else config.length_penalty,
            "repetition_penalty": config.repetition_penalty or 1.0,
            "no_repeat_ngram_size": config.no_repeat_ngram_size or 0,
            "max_decoding_length": config.max_new_tokens,
            "min_decoding_length": least,
            "suppress_sequences": [[self._spell(t) for t in each] for each in never] or None,
            "end_token": [self._spell(end) for end in (ends if isinstance(ends, list) else [ends])],
        }

    def _spell(self, token: int) -> str:
        return spell(token, self._pad)

    def _read(self, token: str) -> int:
        return int(self._pad) if token == spell(self._pad, self._pad) else int(token)
