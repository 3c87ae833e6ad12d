"""A checkpoint's own settings of generation, complete whatever its age."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedConfig, PreTrainedTokenizerBase

__all__ = ["complete_defaults"]


def complete_defaults(
    own: GenerationConfig | None, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> GenerationConfig:
    """Copy the generation settings, with the ids that older files keep elsewhere.

    Args:
        own: The settings as the loaded model has them.
        config: The model's configuration.
        tokenizer: Its tokenizer.

    Returns:
        A copy in which the ids of the start, the end and the padding are filled in.
    """
    assert own is not None, "every model that generates has them"
    defaults = copy.deepcopy(own)
    for name in ("decoder_start_token_id", "eos_token_id", "pad_token_id"):
        known = (getattr(home, name, None) for home in (defaults, config, tokenizer))
        setattr(defaults, name, next((value for value in known if value is not None), None))
    return defaults
