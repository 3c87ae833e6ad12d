"""How vocabularies spell languages: one row of data for each family."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["FLORES", "M2M100", "MARIAN", "MBART", "NAMING_SCHEMES", "NamingScheme"]


@dataclass(frozen=True, slots=True)
class NamingScheme:
    """How one family of vocabularies spells a language.

    Attributes:
        name: What the scheme is called.
        pattern: Regular expression with one group `code` that a whole token must match.
        own_codes: Codes that mean something else than in ISO 639, each with its meaning.
    """

    name: str
    pattern: str
    own_codes: tuple[tuple[str, str], ...] = ()

    def code_of(self, token: str) -> str | None:
        """Return the language code inside a token, or None for any other token."""
        match = re.fullmatch(self.pattern, token)
        return None if match is None else match["code"]

    def meaning(self, code: str) -> str:
        """Return the code with the scheme's own ones translated to ISO 639."""
        return dict(self.own_codes).get(code, code)


FLORES: Final = NamingScheme("FLORES-200", r"(?P<code>[a-z]{3}_[A-Z][a-z]{3})")
M2M100: Final = NamingScheme(
    "M2M100", r"__(?P<code>[a-z]{2,3}(?:[_-][A-Za-z]{2,4})?)__", own_codes=(("ns", "nso"),)
)
MBART: Final = NamingScheme("mBART", r"(?P<code>[a-z]{2,3}_[A-Z]{2})")
MARIAN: Final = NamingScheme("Marian", r">>(?P<code>[A-Za-z]{2,3}(?:[_-][A-Za-z0-9]{2,8})*)<<")
NAMING_SCHEMES: Final = (FLORES, M2M100, MBART, MARIAN)
