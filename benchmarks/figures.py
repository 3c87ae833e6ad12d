"""The figures of the starter models on the public test sets, as the site shows them.

    python -m benchmarks.figures DATA [--work FOLDER] [--limit N] [NAME ...]

DATA is the folder whose `eval` holds the sets; FOLDER keeps predictions, so that a run that was
stopped goes on. Each NAME writes `docs/figures/NAME.json` and its charts; at the end
`docs/figures.md` is written from all that are there. No text of the sets gets into any of them.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import gettempdir

from benchmarks.figures_page import write_figures_page
from langchain_xlm import evaluate
from langchain_xlm.evaluation.charts import write_charts
from langchain_xlm.evaluation.cost import Budget
from langchain_xlm.evaluation.embeddings import EmbeddingsTask
from langchain_xlm.evaluation.examples import ExampleSet
from langchain_xlm.evaluation.reading import LAYOUTS, DataSource, read_examples
from langchain_xlm.evaluation.report import Figure, GroupFigures, Report, SystemReport
from langchain_xlm.evaluation.run import Options
from langchain_xlm.evaluation.sentiment import SentimentTask
from langchain_xlm.evaluation.summarization import SummarizationTask
from langchain_xlm.evaluation.systems import combine
from langchain_xlm.evaluation.tasks import EvaluationTask
from langchain_xlm.evaluation.translation import TranslationTask

DOCS = Path(__file__).parent.parent / "docs"
FIGURES = DOCS / "figures"
EVAL = Path("eval")
SEED = 0
QUALITY = Options(shown=0, cost=None)
PRECISIONS = ("none", "bfloat16", "8bit", "4bit")
COSTS = Options(shown=0, cost=Budget(latency_runs=30, seconds=15.0))

TATOEBA = {
    "deu": "de",
    "fra": "fr",
    "spa": "es",
    "nld": "nl",
    "jpn": "ja",
    "tur": "tr",
    "cmn": "zh",
}
NTREX = {
    "deu": "de",
    "fra": "fr",
    "spa": "es",
    "nld": "nl",
    "jpn": "ja",
    "tur": "tr",
    "zho-CN": "zh",
}
# News is long, and translating it takes long: a sample of each direction.
NTREX_LIMIT = 150
LONG_DOCUMENTS = 100


_at_most: list[int] = []


def draw(data: ExampleSet, limit: int | None = None) -> ExampleSet:
    """Draw examples of each group: as many as the set allows, or as the command does."""
    limits = [each for each in (limit, *_at_most) if each is not None]
    return data.sample(min(limits, default=None), SEED)


def bitext(sides: dict[str, tuple[Path, Path]], limit: int | None = None) -> ExampleSet:
    sources = [DataSource(paths, group) for group, paths in sides.items()]
    return draw(read_examples(sources, LAYOUTS["bitext"], skip_invalid=True), limit)


def tatoeba_pairs(languages: Iterator[str] | None = None) -> dict[str, tuple[Path, Path]]:
    folder = EVAL / "tatoeba"
    names = languages or sorted(
        path.suffix[1:] for path in folder.glob("*-eng.???") if path.suffix != ".eng"
    )
    return {
        name: (folder / f"tatoeba.{name}-eng.{name}", folder / f"tatoeba.{name}-eng.eng")
        for name in names
    }


def ntrex_file(language: str) -> Path:
    return EVAL / "ntrex" / f"newstest2019-ref.{language}.txt"


def pairs_with_english(folder: Path, pattern: str, english: Path) -> dict[str, tuple[Path, Path]]:
    found = sorted(folder.glob(pattern))
    return {
        path.name.replace("newstest2019-ref.", "").replace("pud.", "").removesuffix(".txt"): (
            path,
            english,
        )
        for path in found
        if path != english and path.suffix != ".ids"
    }


def embeddings(name: str, data: ExampleSet, work: Path, kind: str = "bitext") -> Report:
    task = EmbeddingsTask(kind=kind)
    return evaluate(task, data, output=work / name, options=QUALITY, progress=show)


def tatoeba(work: Path) -> Report:
    return embeddings("tatoeba", bitext(tatoeba_pairs()), work)


def ntrex(work: Path) -> Report:
    english = ntrex_file("eng-US")
    sides = pairs_with_english(EVAL / "ntrex", "*.txt", english)
    return embeddings("ntrex", bitext(sides, 1000), work)


def pud(work: Path) -> Report:
    sides = pairs_with_english(EVAL / "pud", "pud.*", EVAL / "pud" / "pud.en")
    return embeddings("pud", bitext(sides), work)


def nusax_bitext(work: Path) -> Report:
    path = EVAL / "sentiment" / "nusax" / "mt" / "test.csv"
    with path.open(encoding="utf-8", newline="") as stream:
        names = next(csv.reader(stream))
    others = [name for name in names if name not in ("", "id", "english")]
    examples = []
    for name in others:
        columns = {"left": name, "right": "english"}
        found = read_examples([DataSource(path, name)], LAYOUTS["bitext"], columns=columns)
        examples += found.examples
    data = ExampleSet(tuple(examples), files=(str(path),), rows=len(examples))
    return embeddings("nusax-bitext", draw(data), work)


def jsts(work: Path) -> Report:
    columns = {"score": "1", "left": "2", "right": "3"}
    sources = [DataSource(EVAL / "jsts" / f"{part}.tsv", part) for part in ("test", "valid")]
    data = read_examples(sources, LAYOUTS["sts"], columns=columns)
    return embeddings("jsts", draw(data), work, "sts")


def sentiment(work: Path) -> Report:
    folder = EVAL / "sentiment" / "nusax" / "sentiment"
    sources = [DataSource(path / "test.csv", path.name) for path in sorted(folder.iterdir())]
    data = draw(read_examples(sources, LAYOUTS["sentiment"]))
    return evaluate(
        SentimentTask(), data, output=work / "sentiment", options=QUALITY, progress=show
    )


def summaries(name: str, sentences: int, limit: int | None = None) -> Callable[[Path], Report]:
    def run(work: Path) -> Report:
        path = EVAL / "summarization" / f"{name}.test.jsonl"
        data = read_examples([DataSource(path)], LAYOUTS["summarization"], skip_invalid=True)
        task = SummarizationTask(sentences=sentences)
        return evaluate(task, draw(data, limit), output=work / name, options=QUALITY, progress=show)

    return run


def translation(
    name: str,
    files: Callable[[str], tuple[Path, Path]],
    languages: dict[str, str],
    limit: int | None,
) -> Callable[[Path], Report]:
    """Both directions between English and each language, in one report."""

    def run(work: Path) -> Report:
        parts = {}
        for folder, tag in languages.items():
            foreign, english = files(folder)
            directions = (((tag, "en"), (foreign, english)), (("en", tag), (english, foreign)))
            for (source, target), sides in directions:
                found = read_examples(
                    [DataSource(sides)], LAYOUTS["translation"], skip_invalid=True
                )
                data = draw(found, limit)
                task = TranslationTask(source_language=source, target_language=target)
                parts[f"{source} → {target}"] = evaluate(
                    task,
                    data,
                    output=work / name / f"{source}-{target}",
                    options=QUALITY,
                    progress=show,
                )
        return together(parts)

    return run


def together(parts: dict[str, Report]) -> Report:
    """Make the reports of several directions one, each a group; the whole is their mean."""
    first = next(iter(parts.values()))
    systems = []
    common = min(len(report.systems) for report in parts.values())
    for number, system in enumerate(first.systems[:common]):
        own = {name: report.systems[number] for name, report in parts.items()}
        groups = tuple(
            GroupFigures(group=name, examples=parts[name].data.examples, figures=each.figures)
            for name, each in own.items()
        )
        systems.append(
            SystemReport(
                name=system.name,
                model=system.model,
                precision=system.precision,
                fingerprint=system.fingerprint,
                groups=groups,
                figures=tuple(
                    mean(column)
                    for column in zip(*(group.figures for group in groups), strict=True)
                ),
            )
        )
    data = first.data.model_copy(
        update={
            "files": tuple(dict.fromkeys(f for r in parts.values() for f in r.data.files)),
            "rows": sum(report.data.rows for report in parts.values()),
            "examples": sum(report.data.examples for report in parts.values()),
        }
    )
    settings = {key: value for key, value in first.settings.items() if "language" not in key}
    return first.model_copy(
        update={
            "systems": tuple(systems),
            "data": data,
            "comparisons": (),
            "settings": settings,
        }
    )


def mean(column: tuple[Figure, ...]) -> Figure:
    values = [figure.value for figure in column if figure.value is not None]
    value = sum(values) / len(values) if values else None
    return column[0].model_copy(
        update={"value": value, "low": None, "high": None, "signature": "mean over the directions"}
    )


def tatoeba_sides(name: str) -> tuple[Path, Path]:
    return tatoeba_pairs(iter([name]))[name]


def ntrex_sides(name: str) -> tuple[Path, Path]:
    return ntrex_file(name), ntrex_file("eng-US")


def precision(
    name: str, task: EvaluationTask, data: Callable[[], ExampleSet]
) -> Callable[[Path], Report]:
    """The starter as it is, in 16 bits, 8 and 4, with costs."""

    def run(work: Path) -> Report:
        systems = combine(precisions=PRECISIONS)
        return evaluate(task, data(), systems, output=work / name, options=COSTS, progress=show)

    return run


def german_to_english() -> ExampleSet:
    source = DataSource(tatoeba_sides("deu"))
    return draw(read_examples([source], LAYOUTS["translation"]), 200)


def english_sentiment() -> ExampleSet:
    path = EVAL / "sentiment" / "nusax" / "sentiment" / "english" / "test.csv"
    return draw(read_examples([DataSource(path)], LAYOUTS["sentiment"]))


SETS: dict[str, Callable[[Path], Report]] = {
    "jsts": jsts,
    "pud": pud,
    "sentiment": sentiment,
    "scitldr": summaries("en_scitldr", 1),
    "csl": summaries("zh_csl", 1),
    "nusax-bitext": nusax_bitext,
    "translation-tatoeba": translation("translation-tatoeba", tatoeba_sides, TATOEBA, None),
    "precision-translation": precision(
        "precision-translation",
        TranslationTask(source_language="de", target_language="en"),
        german_to_english,
    ),
    "precision-embeddings": precision(
        "precision-embeddings",
        EmbeddingsTask(),
        lambda: bitext(tatoeba_pairs(iter(["deu", "jpn", "tur"])), 300),
    ),
    "precision-sentiment": precision("precision-sentiment", SentimentTask(), english_sentiment),
    "tatoeba": tatoeba,
    "ntrex": ntrex,
    "klexikon": summaries("de_klexikon", 5, LONG_DOCUMENTS),
    "translation-ntrex": translation("translation-ntrex", ntrex_sides, NTREX, NTREX_LIMIT),
}


def show(what: str, done: int, total: int) -> None:
    if done in (0, total):
        sys.stderr.write(f"  {time.strftime('%H:%M:%S')} {what}: {done} of {total}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SETS))
    parser.add_argument("--work", type=Path, default=Path(gettempdir()) / "langchain-xlm-figures")
    parser.add_argument("--limit", type=int, help="examples of each group at the most")
    given = parser.parse_intermixed_args()
    _at_most.extend([] if given.limit is None else [given.limit])
    FIGURES.mkdir(parents=True, exist_ok=True)
    work = given.work.absolute()
    # Paths in reports are then the same on every machine.
    os.chdir(given.data)
    for name in given.names or SETS:
        sys.stderr.write(f"{name}\n")
        report = SETS[name](work)
        report.write_json(FIGURES / f"{name}.json")
        for old in FIGURES.glob(f"{name}.*.svg"):
            old.unlink()
        for path in write_charts(report, work / name / "charts"):
            shutil.move(path, FIGURES / f"{name}.{path.name}")
    write_figures_page(FIGURES, DOCS / "figures.md", order=list(SETS))


if __name__ == "__main__":
    main()
