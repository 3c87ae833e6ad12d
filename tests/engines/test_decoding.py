from __future__ import annotations

from typing import Any

import pytest

from langchain_xlm.engines.decoding import (
    GenerationSettings,
    Plan,
    generation_config,
    length_limit,
    retries,
)
from langchain_xlm.errors import ConfigurationError


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_beams": 0}, "num_beams=0"),
        ({"num_beams": 2.5}, "num_beams=2.5"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"min_new_tokens": -1}, "min_new_tokens=-1"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size=-1"),
        ({"repetition_penalty": 0}, "repetition_penalty=0"),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "min_new_tokens=9 is above max_new_tokens=8"),
    ],
)
def test_settings_out_of_range_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        GenerationSettings(**fields)


@pytest.mark.parametrize("tokens", [1, 5, 16, 17, 100, 127, 400])
def test_the_limit_leaves_room_and_takes_few_values(tokens: int) -> None:
    limit = length_limit(tokens, GenerationSettings(), decoder_window=1024)
    assert limit >= min(1024, 2 * tokens + 32)
    assert limit & (limit - 1) == 0, "a power of two"


def test_the_limit_stays_within_the_decoder_and_the_wish() -> None:
    assert length_limit(400, GenerationSettings(), decoder_window=512) == 512
    assert length_limit(400, GenerationSettings(max_new_tokens=7), decoder_window=512) == 7
    assert length_limit(4, GenerationSettings(max_new_tokens=900), decoder_window=512) == 512
    assert length_limit(4, GenerationSettings(min_new_tokens=200), decoder_window=1024) >= 400


def test_retries_search_in_another_way_each_time() -> None:
    greedy = retries(GenerationSettings(length_penalty=2.0), default_beams=1)
    beams = retries(GenerationSettings(), default_beams=5)
    assert [settings.num_beams for settings in greedy] == [4, 1]
    assert [settings.num_beams for settings in beams] == [1, 1]
    assert all(settings.length_penalty == 2.0 for settings in greedy)
    assert greedy[0].no_repeat_ngram_size > greedy[1].no_repeat_ngram_size > 0  # type: ignore[operator]


def test_the_config_is_new_and_the_checkpoints_own_is_kept() -> None:
    from transformers import GenerationConfig

    own = GenerationConfig(
        num_beams=5,
        length_penalty=1.5,
        do_sample=True,
        temperature=0.7,
        max_length=200,
        forced_eos_token_id=2,
        forced_bos_token_id=9,
        bad_words_ids=[[3]],
    )
    before = own.to_dict()
    plan = Plan(target_id=7, limit=64, settings=GenerationSettings(length_penalty=0.5))
    made = generation_config(own, plan)
    assert own.to_dict() == before
    assert (made.num_beams, made.length_penalty, made.bad_words_ids) == (5, 0.5, [[3]])
    assert (made.forced_bos_token_id, made.max_new_tokens) == (7, 64)
    assert not made.do_sample
    assert made.temperature is made.max_length is made.forced_eos_token_id is None


def test_without_a_target_the_checkpoints_own_first_token_holds() -> None:
    from transformers import GenerationConfig

    plan = Plan(target_id=None, limit=8, settings=GenerationSettings(min_new_tokens=20))
    made = generation_config(GenerationConfig(forced_bos_token_id=9, min_length=3), plan)
    assert made.forced_bos_token_id == 9
    assert made.min_new_tokens == 8, "no more than the limit"
    assert made.min_length is None
