"""The picture of an attention matrix."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_xlm.errors import MissingDependencyError

if TYPE_CHECKING:
    from langchain_xlm.engines.attention import AttentionMap

__all__ = ["draw"]

# SentencePiece writes the space in front of a word as this.
_SPACE = "▁"
_INCHES_PER_TOKEN = 0.32
_LARGEST_INCHES = 40.0
# Up to so many tokens the weights are written into the cells.
_WRITTEN = 16


def draw(attention: AttentionMap, path: str | os.PathLike[str]) -> None:
    """Draw a matrix with its tokens at the sides.

    Args:
        attention: The matrix.
        path: The file; its ending chooses the format.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependencyError(
            "matplotlib", needed_for="Drawing an attention map", extra="attention"
        )
    # The objects of matplotlib alone: pyplot would keep state for the whole process.
    from matplotlib.figure import Figure

    fonts, missing = _fonts_for({*"".join((*attention.queries, *attention.keys))})
    rows, columns = attention.weights.shape
    figure = Figure(
        figsize=(
            min(_LARGEST_INCHES, 2.6 + _INCHES_PER_TOKEN * columns),
            min(_LARGEST_INCHES, 2.2 + _INCHES_PER_TOKEN * rows),
        ),
        dpi=150,
        layout="constrained",
    )
    axes = figure.subplots()
    image = axes.imshow(attention.weights, cmap="Blues", vmin=0, aspect="equal")
    style: dict[str, Any] = {"fontfamily": fonts, "fontsize": 9}
    keys = [_label(token, missing) for token in attention.keys]
    queries = [_label(token, missing) for token in attention.queries]
    axes.set_xticks(range(columns), keys, rotation=90, **style)
    axes.set_yticks(range(rows), queries, **style)
    axes.set_xlabel("looked at")
    axes.set_ylabel("looking")
    name = Path(attention.model).name
    axes.set_title(f"{name}, layer {attention.layer}, head {attention.head}", fontsize=10)
    if max(rows, columns) <= _WRITTEN:
        half = attention.weights.max() / 2
        for row, line in enumerate(attention.weights):
            for column, weight in enumerate(line):
                if weight >= 0.005:
                    shade = "white" if weight > half else "black"
                    text = f"{weight:.2f}".removeprefix("0")
                    axes.text(column, row, text, ha="center", va="center", color=shade, fontsize=6)
    figure.colorbar(image, ax=axes, shrink=0.6, label="share of attention")
    if missing:
        figure.supxlabel(
            "Characters that no installed font has are given by their code points.", fontsize=7
        )
    figure.savefig(path)


def _label(token: str, missing: set[str]) -> str:
    shown = token.replace(_SPACE, "_")
    if not missing.intersection(shown):
        # A dollar sign would begin a formula.
        return shown.replace("$", r"\$")
    parts = [f"{ord(letter):04X}" if letter in missing else letter for letter in shown]
    return "·".join(parts).replace("$", r"\$")


def _fonts_for(characters: Iterable[str]) -> tuple[list[str], set[str]]:
    """Find installed fonts that have the characters, and the characters that none has."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    left = {ord(letter) for letter in characters if letter != _SPACE and letter.isprintable()}
    fonts = ["DejaVu Sans"]
    left -= FT2Font(font_manager.findfont("DejaVu Sans")).get_charmap().keys()
    for entry in font_manager.fontManager.ttflist:
        if not left:
            break
        if entry.name.startswith("Last Resort"):
            continue  # it has a box for every character, which tells them apart from nothing
        try:
            found = left & FT2Font(entry.fname).get_charmap().keys()
        except (OSError, RuntimeError):
            continue  # a broken or removed font file
        if found:
            fonts.append(entry.name)
            left -= found
    return fonts, {chr(code) for code in left}
