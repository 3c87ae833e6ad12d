"""Languages by any sensible name, and the names that each vocabulary gives them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING

from langchain_xlm.errors import ConfigurationError, UnsupportedLanguageError
from langchain_xlm.text.names import (
    LONGEST_NAME,
    close_names,
    common_names,
    folded_names,
    names_of,
    read_subtags,
    standard_tag,
)
from langchain_xlm.text.naming import (
    FLORES,
    M2M100,
    MARIAN,
    MBART,
    NAMING_SCHEMES,
    NamingScheme,
)

if TYPE_CHECKING:
    from langcodes import Language as Subtags

__all__ = [
    "FLORES",
    "M2M100",
    "MARIAN",
    "MBART",
    "NAMING_SCHEMES",
    "Language",
    "ModelLanguages",
    "NamingScheme",
    "find_language",
    "likely_script",
    "same_language",
]


@dataclass(frozen=True, slots=True, order=True)
class Language:
    """A language, with its script or region where they matter.

    Attributes:
        tag: Standardized BCP 47 tag: `fr`, `zh-Hant`, `sr-Latn`.
    """

    tag: str

    @property
    def name(self) -> str:
        """Display name in English: `French`, `Chinese (Traditional)`."""
        return names_of(self.tag)[0]

    def __str__(self) -> str:
        """Return name and tag: `French (fr)`."""
        return f"{self.name} ({self.tag})"


def find_language(name: str) -> Language:
    """Find the language that a code or a name means.

    Args:
        name: A code of any kind (`fr`, `fra`, `fre`, `fr-CA`, `fra_Latn`, `fr_XX`, `__fr__`,
            `>>fra<<`) or a name in any language (`French`, `français`, `Chinese
            (Traditional)`). Case and surrounding spaces do not matter.

    Returns:
        The language.

    Raises:
        UnsupportedLanguageError: Nothing answers to the name; names that look like it are
            suggested. A name is never guessed.
    """
    found = read_subtags(name)
    if found is None:
        near = close_names(name, common_names())
        raise UnsupportedLanguageError(
            _clip(name), suggestions=[str(Language(tag)) for tag in near]
        )
    return Language(standard_tag(found))


@dataclass(frozen=True, slots=True)
class _Entry:
    """One language token of a vocabulary."""

    token: str
    code: str
    tag: str
    iso_code: str  # three letters, before macrolanguages are folded


@dataclass(frozen=True)
class ModelLanguages:
    """The languages that one checkpoint knows; immutable, and free of any model.

    Attributes:
        model: The checkpoint, for messages.
        entries: Its language tokens, sorted by tag.
    """

    model: str
    entries: tuple[_Entry, ...] = field(repr=False)

    @classmethod
    def from_vocabulary(
        cls, scheme: NamingScheme, tokens: Iterable[str], model: str
    ) -> ModelLanguages:
        """Read the languages off a vocabulary.

        Args:
            scheme: How the vocabulary spells languages.
            tokens: The vocabulary, or any part of it that holds the language tokens; tokens
                that the scheme does not match, or whose code means no language, are left out.
            model: The checkpoint, for messages.

        Returns:
            What the checkpoint knows.

        Raises:
            ConfigurationError: Not one token names a language.
        """
        read = []
        for token in dict.fromkeys(tokens):
            code = scheme.code_of(token)
            subtags = None if code is None else read_subtags(scheme.meaning(code))
            if code is not None and subtags is not None:
                read.append((token, code, subtags))
        if not read:
            raise ConfigurationError(
                f"The vocabulary of {model!r} has no language token of the {scheme.name} kind."
                " Check that the checkpoint and its family belong together."
            )
        tags = _shortest_tags([subtags for _, _, subtags in read])
        entries = (
            _Entry(token, code.lower(), tag, subtags.to_alpha3())
            for (token, code, subtags), tag in zip(read, tags, strict=True)
        )
        return cls(model, tuple(sorted(entries, key=lambda entry: (entry.tag, entry.token))))

    @cached_property
    def tags(self) -> tuple[str, ...]:
        """Standardized BCP 47 tags, sorted; one for each token."""
        return tuple(entry.tag for entry in self.entries)

    def language_of(self, token: str) -> Language | None:
        """Return the language that a vocabulary token names, or None."""
        return next((Language(e.tag) for e in self.entries if e.token == token), None)

    def resolve(self, name: str, *, any_script: bool = False) -> tuple[Language, str]:
        """Find what the model calls a language.

        A region falls back to the model's nearest (`fr-CA` to `fr_XX`, `zh-TW` to `zho_Hant`),
        a general name to its standard form (`no` to `nob_Latn`, `ar` to `arb_Arab`). Another
        language never stands in, however close (Bosnian for Croatian).

        Args:
            name: Anything `find_language` takes, or the model's own code or token.
            any_script: True takes the language also where it asks for a script that the model
                does not name (`zh-TW` from a model with one Chinese). That is right for a
                source; for a target it would change the writing without a word.

        Returns:
            The language as the model knows it, and its token in the vocabulary.

        Raises:
            UnsupportedLanguageError: The model does not know it, or nobody does; the nearest
                that it knows are suggested.
        """
        key = name.strip().casefold()
        for entry in self.entries:
            if key in (entry.token.casefold(), entry.code):
                return Language(entry.tag), entry.token
        asked = read_subtags(name)
        found = None if asked is None else self._find(asked, any_script=any_script)
        if found is None:
            known = f" is not among the {len(self.tags)} languages that {self.model!r} knows"
            raise UnsupportedLanguageError(
                _clip(name),
                model=self.model,
                suggestions=self._suggest(name, asked),
                reason=None if asked is None else f"Language {name!r}{known}",
            )
        return Language(found.tag), found.token

    def _find(self, asked: Subtags, *, any_script: bool) -> _Entry | None:
        from langcodes import tag_distance

        tag = standard_tag(asked)
        for entry in self.entries:
            if entry.tag == tag:
                return entry
        if asked.to_tag() == asked.language:
            exact = [e for e in self.entries if e.iso_code == asked.to_alpha3()]
            if len(exact) == 1:
                return exact[0]
        same = [e for e in self.entries if same_language(tag, e.tag)]
        if not same:
            same = self._only_member(asked)
        script = None if any_script else _asked_script(tag)
        if script is not None:
            same = [e for e in same if likely_script(e.tag) == script]
        return min(same, key=lambda e: (tag_distance(tag, e.tag), e.tag), default=None)

    def _only_member(self, asked: Subtags) -> list[_Entry]:
        """Find the one language of a macrolanguage (Quechua, Fulah) that the model knows."""
        members = [e for e in self.entries if _macrolanguages().get(e.iso_code) == asked.language]
        return members if len({e.iso_code for e in members}) == 1 else []

    def _suggest(self, name: str, asked: Subtags | None) -> list[str]:
        from langcodes import tag_distance

        if asked is None:
            codes = {entry.code: entry.tag for entry in self.entries if len(entry.code) > 3}
            near = close_names(name, {**codes, **folded_names(self.tags)})
        else:
            # Another script or dialect of the same, then what its readers also read. Names
            # that only look alike (Malay, Malayalam) would mislead.
            tag = standard_tag(asked)
            far = sorted(
                (tag_distance(tag, known, ignore_script=True), known) for known in self.tags
            )
            near = [known for distance, known in far if distance <= 20][:3]
        if not near and len(self.tags) <= 12:
            near = list(self.tags)
        return [str(Language(tag)) for tag in near]


@lru_cache(maxsize=65536)
def same_language(first: str, second: str) -> bool:
    """Tell whether two tags mean one language, whatever their scripts and regions.

    Args:
        first: A BCP 47 tag.
        second: Another.

    Returns:
        True also for a general name and its standard form (`no` and `nb`, `zh` and `cmn`);
        False for close relatives (`bs` and `hr`).
    """
    from langcodes import Language as Subtags
    from langcodes import tag_distance

    one, other = (standard_tag(Subtags.get(tag)).split("-")[0] for tag in (first, second))
    return one == other or tag_distance(one, other, ignore_script=True) <= 1


def _shortest_tags(found: Sequence[Subtags]) -> list[str]:
    """Give each language of a vocabulary the shortest tag that no other of it could mean."""
    # Scripts and regions that tell nothing apart (`fra_Latn`, `ar_AR`) are dropped.
    standard = [standard_tag(subtags) for subtags in found]
    order = sorted(range(len(found)), key=lambda i: (found[i].to_tag() != standard[i], standard[i]))
    languages = [tag.split("-")[0] for tag in standard]
    tags: dict[int, str] = {}
    for i in order:
        language = languages[i]
        script = likely_script(standard[i])
        short = language if script == likely_script(language) else f"{language}-{script}"
        choices = [standard[i], found[i].to_tag()]
        if languages.count(language) == 1:
            choices.insert(0, short)
        taken = set(tags.values())
        tags[i] = next((tag for tag in choices if tag not in taken), found[i].to_tag())
    return [tags[i] for i in range(len(found))]


@lru_cache(maxsize=4096)
def likely_script(tag: str) -> str | None:
    """Return the script a tag names, or else the one the language is mostly written in."""
    from langcodes import Language as Subtags

    script = Subtags.get(tag).maximize().script
    # Hangul alone is how Korean (hangul and hanja) is written today.
    return "Kore" if script == "Hang" else script


def _asked_script(tag: str) -> str | None:
    """Return the script that a tag asks for, by name or by region (`zh-TW`)."""
    from langcodes import Language as Subtags

    subtags = Subtags.get(tag)
    return likely_script(tag) if subtags.script or subtags.territory else None


@cache
def _macrolanguages() -> dict[str, str]:
    """Read from IANA's registry which languages belong to a macrolanguage."""
    # It lists languages that have a two-letter code under that, so that the three-letter codes
    # of a vocabulary do not find them: Indonesian belongs to Malay, and yet nobody who asks for
    # Malay means it.
    from language_data.registry_parser import parse_registry  # type: ignore[import-untyped]

    return {
        entry["Subtag"]: entry["Macrolanguage"]
        for entry in parse_registry()
        if "Macrolanguage" in entry
    }


def _clip(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"
