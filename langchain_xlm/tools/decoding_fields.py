"""How a tool that writes text chooses its words."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from langchain_xlm.engines.decoding import GenerationSettings


class DecodingFields(BaseModel):
    """The decoding settings of a tool; None leaves each as the checkpoint has it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    num_beams: int | None = None
    """Wordings kept in mind at a time; 1 is fastest, 4 or 5 mostly better."""
    max_new_tokens: int | None = None
    """Limit of what is written for one piece of the text, in tokens; None derives it from the
    piece."""
    length_penalty: float | None = None
    """With beams: above 0 favours longer texts, below 0 shorter ones."""
    no_repeat_ngram_size: int | None = None
    """Token sequences of this length occur once at most; 0 is off."""
    repetition_penalty: float | None = None
    """Above 1 makes tokens that were used less likely."""

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        self.settings()
        return self

    def settings(self) -> GenerationSettings:
        """Return the settings, as the fields stand now."""
        return GenerationSettings(
            num_beams=self.num_beams,
            max_new_tokens=self.max_new_tokens,
            length_penalty=self.length_penalty,
            no_repeat_ngram_size=self.no_repeat_ngram_size,
            repetition_penalty=self.repetition_penalty,
        )
