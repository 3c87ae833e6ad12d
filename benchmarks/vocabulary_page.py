"""The table of a trimmed vocabulary in `docs/hardware.md`, from the figures beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.memory_page import DOCS, PAGE, where_of

__all__ = ["FIGURES", "PAGE", "table", "write_page"]

FIGURES = DOCS / "figures" / "memory" / "vocabulary.json"
BEGIN, END = "<!-- python -m benchmarks.vocabulary: begin -->\n", "<!-- vocabulary: end -->\n"


def table(figures: dict[str, Any]) -> str:
    """Write the part of the page.

    Args:
        figures: What the file of figures holds.

    Returns:
        Markdown.
    """
    rows, outside = figures["rows"], figures["outside"]
    kept = [language for language in figures["languages"] if language != "en"]
    shape, tokenizers = figures["shape"], figures["tokenizers"]
    size = 4 * shape["pieces"] * shape["width"]
    lines = [
        f"{where_of(figures['machine'])}.",
        f"The starter's encoder; pieces used in {figures['counted']:,} sentences each of",
        f"{', '.join(figures['languages'])}. Retrieval among {figures['sentences']} news sentences"
        f" in both directions, and rank correlation on {figures['pairs']} pairs, per cent.",
        "",
        "| pieces | number | MiB | "
        + " | ".join(f"en-{language}" for language in kept)
        + f" | JSTS | tokens a text | outside: en-{outside} | tokens |",
        "|---" + "|---:" * (len(kept) + 6) + "|",
    ]
    for row in rows:
        cells = [row["name"], f"{row['pieces']:,}", f"{row['bytes'] / 2**20:.1f}"]
        cells += [f"{row[f'retrieval_{language}']:.1f}" for language in kept]
        cells += [f"{row['jsts']:.1f}", f"{row['tokens']:.1f}"]
        cells += [f"{row[f'retrieval_{outside}']:.1f}", f"{row['tokens_outside']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"For XLM-R-base ({shape['pieces']:,} pieces, {shape['width']} wide), computed:",
        "",
        "| pieces kept | 32 bits, MiB | 8 bits, MiB |",
        "|---|---:|---:|",
    ]
    for share in (1, 0.5, 0.25, 0.1):
        each = share * size / 2**20
        small = share * shape["pieces"] * (shape["width"] + 4) / 2**20
        lines.append(f"| {share:.0%} | {each:.0f} | {small:.0f} |")
    large, small_one = tokenizers
    lines += [
        "",
        f"A tokenizer of {large['pieces']:,} made-up pieces takes {large['bytes'] / 2**20:.0f} MiB"
        f" and is read in {large['seconds']:.1f} s,",
        f"one of {small_one['pieces']:,} {small_one['bytes'] / 2**20:.0f} MiB and"
        f" {small_one['seconds']:.1f} s (on a busy machine).",
    ]
    return "\n".join(lines) + "\n"


def write_page(path: Path, page: Path) -> None:
    """Put the table into the page.

    Args:
        path: The file of figures.
        page: The page, with the two marks around the old table.
    """
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    new = table(json.loads(path.read_text("utf-8")))
    page.write_text(f"{before}{BEGIN}\n{new}\n{END}{after}", "utf-8")
