"""LangChain's own test suites for embeddings, unskipped."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from langchain_xlm import XLMEmbeddings


class TestXLMEmbeddingsUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[XLMEmbeddings]:
        return XLMEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "starter"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        # No field is read from the environment; the suite skips its test when this is empty.
        return {"HF_HUB_OFFLINE": "1"}, {"local_files_only": True}, {"local_files_only": True}


@pytest.mark.starter
class TestXLMEmbeddingsIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[XLMEmbeddings]:
        return XLMEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "starter"}
