"""The report: everything that an evaluation found, as frozen values that become JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from langchain_xlm.errors import DataFormatError

__all__ = [
    "Calibration",
    "Comparison",
    "Confusion",
    "Cost",
    "DataAccount",
    "Figure",
    "GroupFigures",
    "Machine",
    "Report",
    "Shown",
    "SystemReport",
]

SCHEMA_VERSION: Literal[1] = 1


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        protected_namespaces=(),
        # A figure can be undefined; JSON has no name for that but null.
        ser_json_inf_nan="null",
    )


class Figure(_Part):
    """A figure with its interval."""

    key: str
    """Its name, such as `chrf++`."""
    title: str
    """Its name for people."""
    value: float | None
    """The figure over all examples; null where it is undefined."""
    low: float | None = None
    """Lower end of the 95% interval; null where none was made."""
    high: float | None = None
    """Upper end of the interval."""
    unit: str = ""
    """`%` for shares and scores of 100, empty for plain numbers."""
    better: Literal["higher", "lower"] | None = None
    """Which direction is better; null where neither is."""
    signature: str | None = None
    """How it was computed, where there are several ways."""


class GroupFigures(_Part):
    """The figures of one group of examples, such as a language."""

    group: str
    """Its name."""
    examples: int
    """How many examples it has."""
    figures: tuple[Figure, ...]
    """The figures over its examples alone."""


class Confusion(_Part):
    """Which labels were given for which."""

    labels: tuple[str, ...]
    """Names of rows and columns."""
    counts: tuple[tuple[int, ...], ...]
    """Texts of each label (row) that were given each label (column)."""


class Calibration(_Part):
    """A bin of texts whose label was given with like confidence."""

    confidence: float
    """Their mean confidence, 0 to 1."""
    accuracy: float
    """The share of them whose label is right, 0 to 1."""
    texts: int
    """How many they are."""


class Shown(_Part):
    """An example that is shown among the best or the worst."""

    origin: str
    """File and line."""
    text: str
    """What the model was given."""
    reference: str
    """What its answer was held against."""
    output: str
    """What it answered."""
    score: float
    """What the examples were ordered by."""


class Cost(_Part):
    """What a system costs, measured in a process of its own."""

    import_s: float
    """Importing the libraries, in seconds."""
    load_s: float
    """Loading the model and its tokenizer from the disk, in seconds."""
    weights_bytes: int
    """The weights in memory."""
    peak_bytes: int
    """The most memory in use: of the GPU, or of the process beyond its libraries."""
    peak_of: Literal["gpu", "process"]
    """Whose memory `peak_bytes` is."""
    latency_p50_s: float
    """One text by itself: the median, in seconds."""
    latency_p95_s: float
    """One text by itself: 95 of 100 take no longer."""
    latency_runs: int
    """How many texts were timed."""
    throughput_texts_per_s: float
    """Texts answered in a second, in requests of the best size."""
    throughput_batch: int
    """That size."""
    device: str
    """Where it ran."""
    dtype: str
    """The type that it computes in."""
    threads: int
    """How many threads of the processor it used."""


class SystemReport(_Part):
    """What was found of one system."""

    name: str
    """What the report calls it."""
    model: str | None = None
    """Hub id or folder, or "starter"; null for a baseline, which needs no model."""
    precision: str | None = None
    """How its weights are kept."""
    device: str | None = None
    """The device that was asked for; null for the best one here."""
    fingerprint: str | None = None
    """Digest of the checkpoint's files."""
    figures: tuple[Figure, ...]
    """The figures over all examples, the one that decides first."""
    groups: tuple[GroupFigures, ...] = ()
    """The figures of each group, where there are several."""
    confusion: Confusion | None = None
    """Which labels were given for which, for classification."""
    calibration: tuple[Calibration, ...] = ()
    """How often each confidence is right, for classification."""
    similarity: tuple[tuple[float, ...], ...] = ()
    """Cosines of the left sides (rows) and right sides (columns) of the first pairs."""
    notes: dict[str, float | None] = {}
    """Further figures by name; `docs/evaluation.md` tells what each is."""
    failed: int = 0
    """How many inputs the model refused; they count as empty answers."""
    failures: tuple[str, ...] = ()
    """The different reasons, the first few."""
    best: tuple[Shown, ...] = ()
    """Examples with the highest score."""
    worst: tuple[Shown, ...] = ()
    """Examples with the lowest score."""
    cost: Cost | None = None
    """What it costs; null where that was not measured."""

    def figure(self, key: str) -> Figure:
        """Return one of the figures over all examples.

        Args:
            key: Its name.

        Returns:
            The figure.

        Raises:
            KeyError: There is none of that name.
        """
        for figure in self.figures:
            if figure.key == key:
                return figure
        raise KeyError(f"{key}; there are {', '.join(each.key for each in self.figures)}")


class Comparison(_Part):
    """Two systems on the same examples."""

    key: str
    """The figure compared."""
    first: str
    """Name of a system."""
    second: str
    """Name of another."""
    difference: float | None
    """Figure of the second less that of the first."""
    low: float | None
    """Lower end of the difference's 95% interval."""
    high: float | None
    """Upper end."""
    p_value: float | None
    """How likely so great a difference is by chance; two-sided, from a paired bootstrap."""


class DataAccount(_Part):
    """Which examples were used, and what became of the others."""

    files: tuple[str, ...]
    """The files, as they were named."""
    rows: int
    """Rows of the files, blank lines included."""
    skipped: dict[str, int]
    """Rows that became no example, by reason."""
    examples: int
    """Examples that were used."""
    corpus: int = 0
    """Documents that queries were answered from."""
    limit: int | None = None
    """How many of each group were drawn at the most; null for all."""
    seed: int = 0
    """Seed of the draw."""
    fingerprint: str
    """Digest of the examples used."""


class Machine(_Part):
    """Where the evaluation ran."""

    system: str
    """Operating system and processor."""
    cores: int
    """Processor cores."""
    memory_bytes: int
    """Memory."""
    versions: dict[str, str]
    """Versions of the packages that bear on results."""


class Report(_Part):
    """Everything that an evaluation found."""

    schema_version: Literal[1] = SCHEMA_VERSION
    """Raised when the shape of the report changes."""
    task: str
    """What was evaluated."""
    settings: dict[str, Any]
    """The settings of the task."""
    data: DataAccount
    """The examples."""
    resamples: int
    """Draws of the bootstrap; 0 for none."""
    created: str
    """When the report was made: ISO 8601, UTC."""
    machine: Machine
    """Where it was made."""
    systems: tuple[SystemReport, ...]
    """The systems in the order given, then the baselines."""
    comparisons: tuple[Comparison, ...] = ()
    """Each two systems by every figure that has intervals, the one that decides first."""

    def system(self, name: str) -> SystemReport:
        """Return what was found of one system.

        Args:
            name: What the report calls it.

        Returns:
            Its part of the report.

        Raises:
            KeyError: There is none of that name.
        """
        for system in self.systems:
            if system.name == name:
                return system
        raise KeyError(f"{name}; there are {', '.join(each.name for each in self.systems)}")

    def write_json(self, path: Path) -> None:
        """Write the report as JSON, in the shape of `docs/report.schema.json`.

        Args:
            path: The file.
        """
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read_json(cls, path: Path) -> Self:
        """Read a report that `write_json` has written.

        Args:
            path: The file.

        Returns:
            The report.

        Raises:
            DataFormatError: The file holds something else.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except ValueError as error:
            reason = str(error).splitlines()[0].rstrip(".:")
            raise DataFormatError(str(path), f"not a report of this version: {reason}.") from error
