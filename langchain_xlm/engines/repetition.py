"""Repetition that a model made up: loops in its output that its source does not account for.

Measured on characters, so that it works alike in scripts with and without spaces and needs no
tokenizer. Two signs: one string many times in a row ("and the and the and the"), and a text
made mostly of strings that it has already used ("the man and the dog, the dog and the man, …").
The source is measured in the same way: "ha ha ha ha ha" may be translated as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# The shortest unit that repeats wins, so that "ha ha ha ha " counts four times, not two.
_RUN = re.compile(r"(.{1,120}?)\1+", re.DOTALL)
_DIGIT = re.compile(r"\d")
_SPACES = re.compile(r"\s+")
# Scripts whose characters carry about a syllable or a word each, so that less of them is much:
# kana, Chinese characters, Hangul, and Thai to Khmer, which are written without spaces.
_DENSE = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
)

_MIN_REPEATED = 12  # characters said again, beyond the first time
_MIN_REPEATED_DENSE = 3
_MIN_ECHO = 0.5  # share of a text that it has said before
_MIN_ECHO_LENGTH = 64
_MIN_ECHO_LENGTH_DENSE = 24


@dataclass(frozen=True, slots=True)
class Run:
    """A string that stands several times in a row.

    Attributes:
        unit: What is repeated, in lower case and with digits as 0.
        times: How often it stands there, at least 2.
    """

    unit: str
    times: int

    @property
    def repeated(self) -> int:
        """How many characters are said again."""
        return len(self.unit) * (self.times - 1)


def longest_run(text: str) -> Run | None:
    """Find the run that says the most characters again.

    Upper and lower case, all digits, and all kinds of space count as the same, so that the
    numbers of a list do not hide that its items are equal.

    Args:
        text: Any text; linear in its length, up to a factor of 120.

    Returns:
        The run, or None where nothing follows itself.
    """
    return max(_runs(text), key=lambda run: run.repeated, default=None)


def echo(text: str) -> float:
    """Return the share of a text's character n-grams that have occurred before in it, 0 to 1."""
    normal = _normalize(text)
    width = 3 if _is_dense(normal) else 6
    count = len(normal) - width + 1
    if count < 1:
        return 0.0
    return 1 - len({normal[start : start + width] for start in range(count)}) / count


def invented_repetition(source: str, output: str) -> float:
    """Measure the repetition in an output that its source does not explain.

    Args:
        source: What the model was given.
        output: What it wrote.

    Returns:
        0.0 for none, otherwise the share of the output that is repetition, up to 1.
    """
    dense = _is_dense(output)
    length = len(output)
    run = longest_run(output)
    if run is not None and run.repeated >= (_MIN_REPEATED_DENSE if dense else _MIN_REPEATED):
        own = longest_times(source)
        # Half as often again is left to the other language's way of saying it.
        if run.times > own + max(1, own // 2):
            return min(1.0, run.repeated / length)
    if length >= (_MIN_ECHO_LENGTH_DENSE if dense else _MIN_ECHO_LENGTH):
        share = echo(output)
        if share >= _MIN_ECHO and share > 1.5 * echo(source):
            return share
    return 0.0


def longest_times(text: str) -> int:
    """Return how often the most repeated string of a text stands in a row, 1 if nothing does.

    Twice does not count: every text has double letters.
    """
    times = max((run.times for run in _runs(text)), default=1)
    return times if times > 2 else 1


def _runs(text: str) -> Iterator[Run]:
    for match in _RUN.finditer(_normalize(text)):
        yield Run(match[1], len(match[0]) // len(match[1]))


def _normalize(text: str) -> str:
    # The spaces around let the first and the last word of a run look like those between.
    return f" {_SPACES.sub(' ', _DIGIT.sub('0', text.casefold().strip()))} "


def _is_dense(text: str) -> bool:
    return 3 * len(_DENSE.findall(text)) > len(text)
