"""From the names of two languages to what one checkpoint must be told."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from textwrap import shorten

from langchain_xlm.engines.wordless import is_wordless
from langchain_xlm.errors import InputError, UnsupportedLanguageError
from langchain_xlm.models.backends import Backend
from langchain_xlm.models.families import Family
from langchain_xlm.text.detection import Detection, detect_language
from langchain_xlm.text.languages import Language, ModelLanguages, find_language, same_language

# Below this a detected language is a guess.
_CERTAIN = 0.5
_LETTERS_TO_TELL = 24


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a loaded sequence-to-sequence checkpoint is.

    Attributes:
        model: Hub id or folder as the caller gave it, or "starter".
        revision: Commit or version of the checkpoint; None for a local folder.
        family: The row of the family table.
        languages: The languages that its vocabulary names; None where it names none.
        window: Longest source in tokens, special tokens included.
        fixed_source: Tag of the one language that it reads, where it says so.
        fixed_target: Tag of the one language that it writes, where it says so.
        backend: The library that runs it.
    """

    model: str
    revision: str | None
    family: Family
    languages: ModelLanguages | None
    window: int
    fixed_source: str | None = None
    fixed_target: str | None = None
    backend: Backend = "torch"

    @property
    def sources(self) -> tuple[str, ...] | None:
        """Tags of the languages that it reads, None where it does not say."""
        if self.fixed_source is not None:
            return (self.fixed_source,)
        # Tokens in front of the source name targets alone.
        if self.languages is None or self.family.target == "source-prefix":
            return None
        return self.languages.tags

    @property
    def targets(self) -> tuple[str, ...] | None:
        """Tags of the languages that it writes, None where it does not say."""
        if self.fixed_target is not None:
            return (self.fixed_target,)
        return None if self.languages is None else self.languages.tags


@dataclass(frozen=True, slots=True)
class Direction:
    """A source and a target language, and how the checkpoint is told of them.

    Attributes:
        source: BCP 47 tag of the source; None for a text without letters.
        target: BCP 47 tag of the target; None for a checkpoint with one task.
        detected: How the source was found; None where the caller named it.
        source_code: What the tokenizer calls the source; None where it is not told.
        target_token: Vocabulary token of the target; None for none.
        forced: Whether the target's token is the first that the model must write.
        prefix: What goes in front of every source.
        suffix: What goes behind it.
        flags: Keys of `FLAGS` of `engines.generator`.
    """

    source: str | None
    target: str | None
    detected: Detection | None = None
    source_code: str | None = None
    target_token: str | None = None
    forced: bool = False
    prefix: str = ""
    suffix: str = ""
    flags: tuple[str, ...] = ()


def find_direction(
    info: ModelInfo, text: str, *, source: str | None, target: str | None
) -> Direction:
    """Resolve two languages for one checkpoint.

    Args:
        info: The checkpoint.
        text: Its language is detected, among those that the model reads, if none is given.
        source: Any name of a language, or None.
        target: Any name of a language, or None where the checkpoint has one task.

    Returns:
        The direction.

    Raises:
        UnsupportedLanguageError: A language that nothing answers to or that the model does not
            know, with the nearest that it does.
        InputError: The model must be told the language, and the text does not show it.
    """
    # The target first: a misspelt one is reported whatever the text shows of its own language.
    target_language, target_token = _resolve(info, target, info.fixed_target, reads=False)
    detected = None
    if source is None and info.fixed_source is None:
        detected = _detect(info, text)
    name = source or info.fixed_source or (detected.tag if detected else None)
    source_language, source_token = _resolve(info, name, info.fixed_source, reads=True)
    flags = []
    if target is not None and info.targets is None:
        flags.append("unchecked_direction")
    if detected is not None and (detected.outside or detected.confidence < _CERTAIN):
        flags.append("uncertain_source")
    prefix, suffix = _frame(info.family, source_language, target_language, target_token)
    return Direction(
        source=source_language.tag if source_language else None,
        target=target_language.tag if target_language else None,
        detected=detected,
        source_code=_code(info.family, source_token),
        target_token=target_token,
        forced=info.family.target == "first-token" and target_token is not None,
        prefix=prefix,
        suffix=suffix,
        flags=tuple(flags),
    )


def _detect(info: ModelInfo, text: str) -> Detection | None:
    """Detect the language of a text; None only where the model need not know it."""
    if is_wordless(text):
        return None
    found = detect_language(text, among=info.sources)
    if found is None and info.family.source == "tokenizer":
        raise InputError(
            f"The language of the text {shorten(text, 60)!r} could not be told: name it as the"
            " source language."
        )
    # A text with few letters does not show that it is in none of the model's languages.
    if found is None or found.outside is None or not _has_letters(text, _LETTERS_TO_TELL):
        return found
    outside = find_language(found.outside)
    raise UnsupportedLanguageError(
        outside.tag,
        model=info.model,
        reason=f"The text seems to be in {outside}, which {info.model!r} does not know; if it is"
        " in another language, name that as the source language",
        suggestions=(str(find_language(found.tag)),),
    )


def _has_letters(text: str, count: int) -> bool:
    letters = (character for character in text if character.isalpha())
    return len(list(islice(letters, count))) == count


def _frame(
    family: Family, source: Language | None, target: Language | None, target_token: str | None
) -> tuple[str, str]:
    """Return what goes in front of every source and behind it."""
    if family.target == "source-prefix" and target_token is not None:
        return f"{target_token} ", ""
    if family.target == "prompt" and family.prompt is not None and target is not None:
        prompt = family.prompt.replace("{target}", target.name)
        prefix, _, suffix = prompt.replace("{source}", source.name if source else "").partition(
            "{text}"
        )
        return prefix, suffix
    return "", ""


def _resolve(
    info: ModelInfo, name: str | None, fixed: str | None, *, reads: bool
) -> tuple[Language | None, str | None]:
    """Find a language among those of the checkpoint, with its token where it has one."""
    if name is None:
        return None, None
    if fixed is not None:
        only = find_language(fixed)
        if not same_language(find_language(name).tag, fixed):
            does = "reads" if reads else "writes"
            raise UnsupportedLanguageError(
                name,
                model=info.model,
                suggestions=(str(only),),
                reason=f"{info.model!r} does not know language {name!r}: it {does} {only} alone",
            )
        return only, None
    if info.languages is None or (reads and info.sources is None):
        return find_language(name), None
    return info.languages.resolve(name, any_script=reads)


def _code(family: Family, token: str | None) -> str | None:
    """Turn a language token into what `tokenizer.src_lang` takes."""
    if token is None or family.naming is None or family.source != "tokenizer":
        return None
    return family.naming.code_of(token)
