"""The examples that a model is measured on, and where each came from."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

__all__ = ["Document", "Example", "ExampleSet"]


@dataclass(frozen=True, slots=True)
class Example:
    """What a model is given and what is held against its answer.

    Attributes:
        text: What it is given: a source, a document, a text, the left side of a pair, a query.
        references: What it is held against: translations, summaries, the right side of a pair.
        label: The label of the text, for classification.
        score: How alike two texts are, as people judged.
        relevant: Ids of the documents that answer a query, with the grade of each.
        group: What its results are shown under besides the whole: a language, mostly.
        origin: File and line.
    """

    text: str
    references: tuple[str, ...] = ()
    label: str | None = None
    score: float | None = None
    relevant: tuple[tuple[str, float], ...] = ()
    group: str | None = None
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A document of the corpus that queries are answered from.

    Attributes:
        id: Its name in `Example.relevant`.
        text: Its text.
        origin: File and line.
    """

    id: str
    text: str
    origin: str = ""


@dataclass(frozen=True)
class ExampleSet:
    """Examples with an account of every row of their files.

    Attributes:
        examples: The examples in the order of the files.
        files: The files, as the caller named them.
        rows: How many rows the files hold, blank lines included.
        skipped: How many rows became no example, by reason.
        corpus: The documents that queries are answered from.
        limit: How many of each group were drawn; None for all.
        seed: Seed of the draw.
    """

    examples: tuple[Example, ...]
    files: tuple[str, ...] = ()
    rows: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    corpus: tuple[Document, ...] = ()
    limit: int | None = None
    seed: int = 0

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.examples)

    @property
    def groups(self) -> dict[str, list[int]]:
        """The places of the examples of each group, in the order of the groups' first."""
        found: dict[str, list[int]] = {}
        for place, example in enumerate(self.examples):
            if example.group is not None:
                found.setdefault(example.group, []).append(place)
        return found

    @cached_property
    def fingerprint(self) -> str:
        """64 hexadecimal digits that change with every text, label and score, not with files."""
        state = hashlib.sha256()
        parts: list[Example | Document] = [*self.examples, *self.corpus]
        for part in parts:
            content = {key: value for key, value in asdict(part).items() if key != "origin"}
            state.update(json.dumps(content, sort_keys=True).encode() + b"\n")
        return state.hexdigest()

    def sample(self, limit: int | None, seed: int = 0) -> ExampleSet:
        """Draw some examples of each group, the same for the same seed.

        Args:
            limit: How many of each group at the most; None keeps all.
            seed: Seed of the draw.

        Returns:
            The examples drawn, in their order, with the whole corpus.
        """
        if limit is None:
            return self
        places: dict[str | None, list[int]] = {}
        for place, example in enumerate(self.examples):
            places.setdefault(example.group, []).append(place)
        drawn: list[int] = []
        for group, own in places.items():
            # A seed for each group, so that a group added to the data moves none of the others.
            generator = random.Random(f"{seed}:{group}")
            drawn += own if len(own) <= limit else generator.sample(own, limit)
        chosen = tuple(self.examples[place] for place in sorted(drawn))
        return replace(self, examples=chosen, limit=limit, seed=seed)
