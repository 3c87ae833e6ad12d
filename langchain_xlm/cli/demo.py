"""`langchain-xlm demo`: the main job, offline, with the time that each part takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_xlm.cli import demo_texts

if TYPE_CHECKING:
    from rich.console import Console

    from langchain_xlm.retrieval.embeddings import XLMEmbeddings
    from langchain_xlm.tools.tool import XLMTool


@dataclass(frozen=True, slots=True)
class Parts:
    """What the demo shows: three tools and the embeddings."""

    translation: XLMTool
    sentiment: XLMTool
    summarization: XLMTool
    embeddings: XLMEmbeddings


def demo() -> None:
    """Show the main job with the bundled models: nothing is downloaded."""
    from rich.console import Console

    from langchain_xlm import (
        XLMEmbeddings,
        XLMSentimentTool,
        XLMSummarizationTool,
        XLMTranslationTool,
    )

    # A failure is to end the demo, not to be shown as if it were a translation.
    parts = Parts(
        translation=XLMTranslationTool(handle_tool_error=False),
        sentiment=XLMSentimentTool(handle_tool_error=False),
        summarization=XLMSummarizationTool(handle_tool_error=False),
        embeddings=XLMEmbeddings(),
    )
    show(parts, Console(soft_wrap=True))


def show(parts: Parts, console: Console) -> None:
    """Run every part of the demo.

    Args:
        parts: What to show.
        console: Where to.
    """
    begun = time.perf_counter()
    _show_translations(parts, console)
    _show_sentiment(parts, console)
    _show_summary(parts, console)
    _show_search(parts, console)
    console.print(f"\nAll of it took {_seconds(begun)}, loading included. No network was used.")


def _show_translations(parts: Parts, console: Console) -> None:
    _head(console, "Translation", 'XLMTranslationTool().invoke({"text": …, "target_language": …})')
    _load(console, parts.translation, {"text": "Hello.", "target_language": "de"})
    for source, targets in demo_texts.TRANSLATIONS:
        console.print(f"\n[bold]{source}[/]", highlight=False)
        for target in targets:
            begun = time.perf_counter()
            result = _call(parts.translation, {"text": source, "target_language": target})
            _line(console, target, result["text"], begun)


def _show_sentiment(parts: Parts, console: Console) -> None:
    _head(console, "Sentiment", 'XLMSentimentTool().invoke({"text": …})')
    _load(console, parts.sentiment, {"text": "Hello."})
    console.print()
    colours = {"negative": "red", "neutral": "yellow", "positive": "green"}
    for text in demo_texts.OPINIONS:
        begun = time.perf_counter()
        result = _call(parts.sentiment, {"text": text})
        label = result["label"]
        score = f"[{colours.get(label, 'cyan')}]{label:<8}[/] {result['scores'][label]:.2f}"
        _line(console, score, text, begun)


def _show_summary(parts: Parts, console: Console) -> None:
    sentences = demo_texts.SUMMARY_SENTENCES
    _head(
        console,
        "Summary",
        f'XLMSummarizationTool().invoke({{"text": …, "max_sentences": {sentences}}})',
    )
    begun = time.perf_counter()
    arguments = {"text": demo_texts.ARTICLE, "max_sentences": sentences}
    result = _call(parts.summarization, arguments)
    words = len(demo_texts.ARTICLE.split()), len(result["text"].split())
    console.print(f"An article of {words[0]} words in {words[1]}  [dim]{_seconds(begun)}[/]\n")
    console.print(result["text"], highlight=False)


def _show_search(parts: Parts, console: Console) -> None:
    from langchain_core.vectorstores import InMemoryVectorStore

    _head(console, "Search across languages", "InMemoryVectorStore(XLMEmbeddings())")
    begun = time.perf_counter()
    store = InMemoryVectorStore(parts.embeddings)
    store.add_texts(list(demo_texts.PASSAGES))
    passages = len(demo_texts.PASSAGES)
    console.print(f"{passages} passages, one language each  [dim]{_seconds(begun)}[/]")
    for query in demo_texts.QUERIES:
        begun = time.perf_counter()
        ((found, score),) = store.similarity_search_with_score(query, k=1)
        console.print(f"\n[bold]{query}[/]", highlight=False)
        _line(console, f"{score:.2f}", found.page_content, begun)


def _head(console: Console, title: str, code: str) -> None:
    console.print()
    console.rule(f"[bold]{title}[/]", align="left")
    console.print(code, style="dim", markup=False, highlight=False)


def _load(console: Console, tool: XLMTool, arguments: dict[str, Any]) -> None:
    begun = time.perf_counter()
    _call(tool, arguments)
    console.print(f"[dim]loaded, with a first answer, in {_seconds(begun)}[/]", highlight=False)


def _line(console: Console, label: str, text: str, begun: float) -> None:
    console.print(f"  [cyan]{label}[/]  ", end="", highlight=False)
    console.print(text, end="", markup=False, highlight=False)
    console.print(f"  [dim]{_seconds(begun)}[/]", highlight=False)


def _call(tool: XLMTool, arguments: dict[str, Any]) -> dict[str, Any]:
    call = {"type": "tool_call", "id": "demo", "name": tool.name, "args": arguments}
    artifact: dict[str, Any] = tool.invoke(call).artifact
    return artifact


def _seconds(begun: float) -> str:
    taken = time.perf_counter() - begun
    return f"{taken * 1000:.0f} ms" if taken < 1 else f"{taken:.1f} s"
