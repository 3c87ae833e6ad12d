"""From what people and vocabularies write to the subtags of BCP 47, and back to names.

langcodes and language_data keep every code and name; here stands only the order in which they
are asked, strictly: a name counts when it is listed, never because it begins like a listed one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from langcodes import Language as Subtags

__all__ = ["close_names", "names_of", "read_subtags", "standard_tag"]

LONGEST_NAME: Final = 64
_CODE: Final = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8})*")
_DECORATED: Final = re.compile(r">>(?P<marian>.+)<<|__(?P<m2m>.+)__", re.DOTALL)
_QUALIFIED: Final = (
    re.compile(r"(?P<name>[^(]+)\((?P<part>[^()]+)\)"),
    re.compile(r"(?P<name>[^,]+),(?P<part>[^,]+)"),
    re.compile(r"(?P<name>.+)\s(?P<part>\S+)"),
)
# Placeholders of ISO 639 that name no language: several, uncoded, no content.
_NO_LANGUAGE: Final = frozenset({"mul", "mis", "zxx"})
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_PRIVATE: Final = re.compile(r"q[a-t][a-z]")


def read_subtags(name: str) -> Subtags | None:
    """Read a code or a name in any language, exactly as meant.

    Args:
        name: `fr`, `fra_Latn`, `fr_XX`, `__fr__`, `>>fra<<`, `French`, `français`,
            `Chinese (Traditional)`, ...; case and surrounding spaces are ignored.

    Returns:
        The subtags as written, not standardized (so that Twi and Akan stay apart), or None
        where nothing answers to the name.
    """
    text = unicodedata.normalize("NFC", name).strip()
    if (decorated := _DECORATED.fullmatch(text)) is not None:
        text = decorated["marian"] or decorated["m2m"]
    if not text or len(text) > LONGEST_NAME or _SURROGATE.search(text):
        return None
    return _read_code(text) or _read_name(text) or _read_qualified(text) or _read_plain(text)


def standard_tag(subtags: Subtags) -> str:
    """Return the one tag for all spellings of a language: `fra-Latn` is `fr`, `cmn` is `zh`."""
    from langcodes import standardize_tag

    standard = standardize_tag(subtags)
    # A language with a two-letter code of its own is not folded into another (Twi into Akan).
    return standard if standard[2:3] in ("", "-") else standardize_tag(standard, macro=True)


@lru_cache(maxsize=4096)
def names_of(tag: str) -> tuple[str, ...]:
    """Return the English name of a tag, then what its speakers call it."""
    from langcodes import Language

    subtags = Language.get(tag)
    return tuple(dict.fromkeys((subtags.display_name(), subtags.autonym())))


def close_names(name: str, choices: Mapping[str, str], *, most: int = 3) -> list[str]:
    """Find the tags whose names look most like a misspelt one, or stand in a longer text.

    Args:
        name: What was written.
        choices: Folded spellings (see `folded_names`) and the tag each stands for.
        most: How many tags to return at most.

    Returns:
        Tags, best first.
    """
    spelling = _fold(name[:LONGEST_NAME])
    near = get_close_matches(spelling, choices, n=3 * most, cutoff=0.7) if spelling else []
    near += [word for word in re.split(r"[\W_]+", spelling) if len(word) > 3 and word in choices]
    found = [choices[key] for key in near]
    if not found and _CODE.fullmatch(spelling) and (start := _read_code(spelling[:3].rstrip("-_"))):
        tag = standard_tag(start)  # a right code with a wrong script or country
        found = [tag] if tag in choices.values() else []
    return list(dict.fromkeys(found))[:most]


def folded_names(tags: Iterable[str]) -> dict[str, str]:
    """List the names of the tags without case and accents, each with its tag."""
    return {_fold(name): tag for tag in tags for name in names_of(tag)}


@cache
def common_names() -> Mapping[str, str]:
    """Return the folded names of the languages that have a two-letter code."""
    from langcodes import Language
    from langcodes.data_dicts import LANGUAGE_ALPHA3

    short = (code for code in LANGUAGE_ALPHA3 if len(code) == 2)
    tags = {standard_tag(Language.get(code, normalize=False)) for code in short}
    return folded_names(sorted(tags))


def _read_code(text: str) -> Subtags | None:
    from langcodes import Language
    from langcodes.data_dicts import LANGUAGE_ALPHA3_BIBLIOGRAPHIC
    from langcodes.tag_parser import LanguageTagError

    if _CODE.fullmatch(text) is None:
        return None
    try:
        found = Language.get(text, normalize=False)
    except LanguageTagError:
        return None
    code = found.language or ""
    if not code or code in _NO_LANGUAGE or _PRIVATE.fullmatch(code):
        return None
    # mBART writes XX where it means no country; extensions do not change the language.
    country = None if found.territory == "XX" else found.territory
    exact = Language.make(
        language=LANGUAGE_ALPHA3_BIBLIOGRAPHIC.get(code, code),
        extlangs=found.extlangs,
        script=found.script,
        territory=country,
        variants=found.variants,
    )
    return exact if Language.get(exact.to_tag()).is_valid() else None


def _read_name(text: str) -> Subtags | None:
    """Look a name up in the lists of language_data."""
    # `langcodes.find` would also take any text that begins with a name ("klingonese").
    from langcodes import Language

    code = _listed("language", text)
    return None if code is None else Language.get(code, normalize=False)


def _read_qualified(text: str) -> Subtags | None:
    """Read a name with a script or country: `Serbian (Latin)`, `Portuguese, Brazil`."""
    from langcodes import Language

    for pattern in _QUALIFIED:
        if (match := pattern.fullmatch(text)) is None:
            continue
        found = _read_name(match["name"].strip())
        if found is None or found.script or found.territory:
            continue
        for kind in ("script", "territory"):
            part = _listed(kind, match["part"].strip())
            if part is not None:
                return Language.make(language=found.language, **{kind: part.removeprefix("und-")})
    return None


def _read_plain(text: str) -> Subtags | None:
    """Read the name of a common language typed without its accents: `francais`, `turkce`."""
    from langcodes import Language

    tag = common_names().get(_fold(text)) if len(text) > 3 else None
    return None if tag is None else Language.get(tag, normalize=False)


def _listed(kind: str, text: str) -> str | None:
    from language_data.names import get_trie_value, normalize_name  # type: ignore[import-untyped]

    key: str = normalize_name(text)
    # Names of one or two Latin letters ("a", "ga") mean obscure languages, never the one meant.
    if len(key) < 3 and key.isascii():
        return None
    # The list for all languages at once leaves out names that differ between them ("Ladino").
    for language in ("und", "en"):
        names = _name_list(language, kind)
        if key in names:
            return str(get_trie_value(names, key))
    return None


@cache
def _name_list(language: str, kind: str) -> Any:
    from language_data.names import load_trie
    from language_data.util import data_filename  # type: ignore[import-untyped]

    return load_trie(data_filename(f"trie/{language}/name_to_{kind}.marisa"))


def _fold(name: str) -> str:
    """Drop case, accents and brackets; the dotless ı of Turkish becomes i."""
    decomposed = unicodedata.normalize("NFKD", name.casefold()).replace("ı", "i")
    kept = (char for char in decomposed if not unicodedata.combining(char) and char not in "()")
    return "".join(kept).strip()
