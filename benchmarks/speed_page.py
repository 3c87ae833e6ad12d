"""The figures of the encoder's speed as the site shows them: a table and charts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.speed_charts import charts, write_chart
from benchmarks.speed_peers import REFERENCE
from benchmarks.speed_timing import Result

DOCS = Path(__file__).parent.parent / "docs"
SHAPES = {
    "base": "of the shape of xlm-roberta-base",
    "small": "of the shape of multilingual-e5-small",
    "tiny": "of a tiny shape, for trying out",
}


def write_page(results: Result, name: str) -> None:
    """Write `encoder.json`, `encoder.txt` and the charts.

    Args:
        results: Parts of the benchmark by name, as many as there are.
        name: Folder below `docs/figures`; one for each machine.
    """
    folder = DOCS / "figures" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "encoder.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    drawn = charts(results)
    for chart_name, chart in drawn.items():
        write_chart(chart, folder / f"encoder.{chart_name}.svg")
    text = "\n".join(page(results, set(drawn), name))
    (folder / "encoder.txt").write_text(text, encoding="utf-8")


def page(results: Result, drawn: set[str], folder: str) -> Iterator[str]:
    sections = {
        "paths": paths, "languages": languages, "query": query, "concurrent": concurrent,
        "load": load, "start": start, "together": together, "peak": peak,
        "lengths": lengths, "batch": batch, "fidelity": fidelity,
        "scale": scale, "memory": memory,
    }  # fmt: skip
    yield "<!-- Written by `python -m benchmarks.speed encoder --docs`; change that. -->\n"
    for name, write in sections.items():
        if name in results:
            yield from write(results[name])
            if name in drawn:
                yield f"\n![{name}](figures/{folder}/encoder.{name}.svg)\n"
    yield from machines(results)


def paths(part: Result) -> Iterator[str]:
    yield "### Many texts\n"
    yield f"Random weights {SHAPES[part['shape']]}. Times are medians, lowest and highest beside.\n"
    yield from bulk(part)


def languages(part: Result) -> Iterator[str]:
    yield "\n### Many texts in several languages\n"
    yield (
        "Eight languages, three scripts: texts sorted by characters are not sorted by tokens. Else"
        " as above.\n"
    )
    yield from bulk(part)


def bulk(part: Result) -> Iterator[str]:
    for case, size in part["results"]["sizes"].items():
        yield f"\n**{case}, {size['tokens']:,} tokens**\n"
        yield (
            "| | seconds | times as fast | in processor time | cosine to float32 | nearest kept"
            " | rounds |"
        )
        yield "|---|---|---|---|---|---|---|"
        used = size["systems"].get(REFERENCE, {}).get("processor_s")
        base = size["systems"].get(REFERENCE, {}).get("median_s")
        for name, row in by_speed(size["systems"]):
            ratio = f"{base / row['median_s']:.2f}" if base else "no reference"
            yield (
                f"| {name}"
                f" | {row['median_s']:.2f} ({row['low_s']:.2f} to {row['high_s']:.2f})"
                f" | {ratio} | {share(used, row.get('processor_s'))}"
                f" | {row['cosine']:.5f} | {row['nearest_kept']:.0%} | {row['rounds']} |"
            )
    yield from left_out(part["results"])


def share(base: float | None, taken: float | None) -> str:
    return f"{base / taken:.2f}" if base and taken else "not taken"


def query(part: Result) -> Iterator[str]:
    yield "\n### One query\n"
    yield f"One short question, random weights {SHAPES[part['shape']]}.\n"
    yield "| | milliseconds | of HuggingFaceEmbeddings |"
    yield "|---|---|---|"
    yield from plain_rows(part["results"]["systems"])
    if steps := part["results"].get("steps"):
        spent = "; ".join(f"{name} {1000 * taken:.2f}" for name, taken in steps.items())
        yield f"\nWhere the time goes in `embed_query`, in milliseconds: {spent}."
    yield from left_out(part["results"])


def concurrent(part: Result) -> Iterator[str]:
    calls = part["results"]["calls"]
    yield f"\n### {calls} queries at once\n"
    yield f"{calls} calls of `aembed_query` sent together, until the last is answered.\n"
    yield "| | queries a second | times as many | batches |"
    yield "|---|---|---|---|"
    systems = part["results"]["systems"]
    base = systems.get(REFERENCE, {}).get("median_s")
    for name, row in by_speed(systems):
        ratio = f"{base / row['median_s']:.1f}" if base else "no reference"
        yield f"| {name} | {calls / row['median_s']:.0f} | {ratio} | {row.get('batches', calls)} |"


def load(part: Result) -> Iterator[str]:
    found = part["results"]
    yield "\n### Latency against load\n"
    yield (
        f"{found['queries']} queries arrive at random at each rate, whether or not earlier ones are"
        " answered; the time is from when a query was due. Rates are multiples of what"
        f" HuggingFaceEmbeddings answers one after the other, {found['base_per_s']:.1f} a second."
        " A system that answers 25 times as late as when it is idle gets no more.\n"
    )
    yield "| | offered a second | answered a second | p50 ms | p95 ms | p99 ms |"
    yield "|---|---|---|---|---|---|"
    for name, system in found["systems"].items():
        for point in system["points"]:
            yield (
                f"| {name} | {point['offered_per_s']:.1f} ({point['times_base']:g} ×)"
                f" | {point['answered_per_s']:.1f} | {point['p50_ms']:.0f}"
                f" | {point['p95_ms']:.0f} | {point['p99_ms']:.0f} |"
            )


def together(part: Result) -> Iterator[str]:
    found = part["results"]
    yield "\n### Beside a second model\n"
    yield (
        "Alone in a process, and in one where the bundled encoder has run before and is idle:"
        f" {found['texts']} texts in seconds, one query in milliseconds.\n"
    )
    yield "| | texts, alone | beside | | query, alone | beside | |"
    yield "|---|---|---|---|---|---|---|"
    for name, row in found["systems"].items():
        alone, beside = row["alone"], row["beside"]
        yield (
            f"| {name} | {alone['texts_s']:.2f} | {beside['texts_s']:.2f}"
            f" | {beside['texts_s'] / alone['texts_s'] - 1:+.0%}"
            f" | {1000 * alone['query_s']:.1f} | {1000 * beside['query_s']:.1f}"
            f" | {beside['query_s'] / alone['query_s'] - 1:+.0%} |"
        )


def start(part: Result) -> Iterator[str]:
    found = part["results"]
    yield "\n### Start\n"
    yield (
        f"Seconds in a new process, medians of {found['rounds']} rounds, the systems in turns."
        " Cold: the files of packages and checkpoint had been dropped from memory, but those"
        " that other processes had open.\n"
    )
    steps = list(next(iter(found["systems"].values()))["warm"])
    yield f"| | files | {' | '.join(steps)} |"
    yield f"|---|---|{'---|' * len(steps)}"
    for name, kinds in found["systems"].items():
        for kind, taken in kinds.items():
            yield f"| {name} | {kind} | {' | '.join(f'{taken[step]:.2f}' for step in steps)} |"


def peak(part: Result) -> Iterator[str]:
    found = part["results"]
    peaks = ", ".join(f"{name} {value / 1e9:.0f}" for name, value in found["peaks"].items())
    yield "\n### Share of the machine's peak\n"
    yield f"Matrix products reach, in GFLOP/s: {peaks}."
    yield f"On {found['texts']} texts of {found['tokens_each']} tokens, tokenization included:\n"
    yield "| | GFLOP/s | share of the peak |"
    yield "|---|---|---|"
    for name, row in found["shares"].items():
        yield f"| {name} | {row['flop_per_s'] / 1e9:.0f} | {row['share']:.0%} of {row['peak']} |"


def lengths(part: Result) -> Iterator[str]:
    yield "\n### Cost of a token against the length of texts\n"
    most = max(part["results"]["tokens"].values())
    yield (
        f"Microseconds a token, of up to {most:,} tokens in texts of equal length. In brackets how"
        f" many times as fast as {REFERENCE}.\n"
    )
    yield from costs(part["results"], "tokens in a text")


def batch(part: Result) -> Iterator[str]:
    yield "\n### Cost of a token against the number of texts in a call\n"
    yield (
        f"Microseconds a token, of texts of {part['results']['tokens_each']} tokens. In brackets"
        f" how many times as fast as {REFERENCE}.\n"
    )
    yield from costs(part["results"], "texts in a call")


def costs(found: Result, what: str) -> Iterator[str]:
    systems = found["us_a_token"]
    yield f"| {what} | {' | '.join(systems)} |"
    yield f"|---|{'---|' * len(systems)}"
    for number in found["tokens"]:
        base = systems.get(REFERENCE, {}).get(number)
        cells = (
            f"{row[number]:.0f}" + (f" ({base / row[number]:.1f})" if base else "")
            for row in systems.values()
        )
        yield f"| {number} | {' | '.join(cells)} |"
    yield from left_out(found)


def fidelity(part: Result) -> Iterator[str]:
    yield "\n### What rounding costs on trained weights\n"
    yield "100 texts against float32.\n"
    yield "| weights | setting | cosine, mean | cosine, lowest | nearest kept |"
    yield "|---|---|---|---|---|"
    for model, settings in part["results"].items():
        for name, row in settings.items():
            yield (
                f"| {model} | {name} | {row['cosine']:.5f} | {row['lowest_cosine']:.5f}"
                f" | {row['nearest_kept']:.0%} |"
            )


def scale(part: Result) -> Iterator[str]:
    yield "\n### Cost of a token against the number of texts\n"
    yield (
        "In float32, short texts. Beside the bundled starter a model of two layers of 128, so small"
        " that what is around it weighs most. The cost is processor time.\n"
    )
    yield "| model | texts | tokens | seconds by the clock | microseconds a token |"
    yield "|---|---|---|---|---|"
    for model, counts in part["results"].items():
        for count, row in counts.items():
            yield (
                f"| {model} | {int(count):,} | {row['tokens']:,} | {row['seconds']:.1f}"
                f" | {row['us_a_token']:.1f} |"
            )


def memory(part: Result) -> Iterator[str]:
    yield "\n### Memory against the number of texts\n"
    yield (
        "Largest resident memory of `langchain-xlm embed`, which writes as it goes, with the same"
        " model.\n"
    )
    yield "| texts | megabytes | of the file written |"
    yield "|---|---|---|"
    for count, row in part["results"].items():
        yield f"| {int(count):,} | {row['megabytes']:.0f} | {row['written_megabytes']:.1f} |"


def machines(results: Result) -> Iterator[str]:
    seen = {}
    for part in results.values():
        machine = part["machine"]
        versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
        line = (
            f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads,"
            f" {machine['system']}, Python {machine['python']}, {versions}"
        )
        seen[line] = None
    yield "\n### Measured on\n"
    yield from (f"- {line}" for line in seen)
    yield ""


def plain_rows(systems: Result) -> Iterator[str]:
    base = systems.get(REFERENCE, {}).get("median_s")
    for name, row in by_speed(systems):
        ratio = f"{row['median_s'] / base:.2f}" if base else "no reference"
        yield f"| {name} | {1000 * row['median_s']:.1f} | {ratio} |"


def by_speed(systems: Result) -> list[tuple[str, Result]]:
    return sorted(systems.items(), key=lambda pair: -pair[1]["median_s"])


def left_out(results: Result) -> Iterator[str]:
    if results.get("skipped"):
        yield f"\nNot installed, so not run: {', '.join(results['skipped'])}."
