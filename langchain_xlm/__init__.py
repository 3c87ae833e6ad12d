"""Translation, summarization, sentiment and multilingual embeddings on models of the XLM family.

The public names are imported on first use (PEP 562), so that `import langchain_xlm` costs next
to nothing; torch and transformers are imported when a model is first loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from langchain_xlm.engines.attention import AttentionMap, attention_map
    from langchain_xlm.errors import (
        ConfigurationError,
        DataFormatError,
        IncompatibleModelError,
        InputError,
        InputTooLongError,
        InsufficientMemoryError,
        MissingDependencyError,
        ModelLoadError,
        ModelNotFoundError,
        ModelRunError,
        ModelUnloadedError,
        RequestTimeoutError,
        UnsupportedLanguageError,
        XLMError,
    )
    from langchain_xlm.evaluation.run import evaluate
    from langchain_xlm.models.memory_plan import MemoryPlan
    from langchain_xlm.models.plan import plan_memory
    from langchain_xlm.retrieval.embeddings import XLMEmbeddings
    from langchain_xlm.runtime.pool import (
        loaded_models,
        memory_in_use,
        set_memory_budget,
        unload_models,
    )
    from langchain_xlm.tools.sentiment import XLMSentimentTool
    from langchain_xlm.tools.summarization import XLMSummarizationTool
    from langchain_xlm.tools.toolkit import XLMToolkit
    from langchain_xlm.tools.translation import XLMTranslationTool

__all__ = [
    "AttentionMap",
    "ConfigurationError",
    "DataFormatError",
    "IncompatibleModelError",
    "InputError",
    "InputTooLongError",
    "InsufficientMemoryError",
    "MemoryPlan",
    "MissingDependencyError",
    "ModelLoadError",
    "ModelNotFoundError",
    "ModelRunError",
    "ModelUnloadedError",
    "RequestTimeoutError",
    "UnsupportedLanguageError",
    "XLMEmbeddings",
    "XLMError",
    "XLMSentimentTool",
    "XLMSummarizationTool",
    "XLMToolkit",
    "XLMTranslationTool",
    "attention_map",
    "evaluate",
    "loaded_models",
    "memory_in_use",
    "plan_memory",
    "set_memory_budget",
    "unload_models",
]

_HOMES = {
    "AttentionMap": "langchain_xlm.engines.attention",
    "MemoryPlan": "langchain_xlm.models.memory_plan",
    "XLMEmbeddings": "langchain_xlm.retrieval.embeddings",
    "XLMSentimentTool": "langchain_xlm.tools.sentiment",
    "XLMSummarizationTool": "langchain_xlm.tools.summarization",
    "XLMToolkit": "langchain_xlm.tools.toolkit",
    "XLMTranslationTool": "langchain_xlm.tools.translation",
    "attention_map": "langchain_xlm.engines.attention",
    "evaluate": "langchain_xlm.evaluation.run",
    "loaded_models": "langchain_xlm.runtime.pool",
    "memory_in_use": "langchain_xlm.runtime.pool",
    "set_memory_budget": "langchain_xlm.runtime.pool",
    "plan_memory": "langchain_xlm.models.plan",
    "unload_models": "langchain_xlm.runtime.pool",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return _version()
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES.get(name, "langchain_xlm.errors")), name)
    globals()[name] = value
    return value


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("langchain-xlm")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
