"""`XLMEmbeddings` as a model of mteb, on tasks whose data is made here."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from langchain_xlm import XLMEmbeddings

pytestmark = pytest.mark.filterwarnings("default")
mteb = pytest.importorskip("mteb")

LEFT = [
    "A man plays a guitar.",
    "It is raining.",
    "Dogs bark.",
    "The train is late.",
    "I like tea.",
]
RIGHT = [
    "A man is playing music.",
    "The sun shines.",
    "Cats bark.",
    "The bus is late.",
    "I like tea very much.",
]
SCORES = [4.0, 0.5, 2.0, 3.0, 4.5]


@pytest.fixture(scope="module")
def encoder(checkpoints):
    from langchain_xlm.evaluation.mteb_model import MtebEncoder

    prompts = {"query": "ask: ", "document": "tell: "}
    return MtebEncoder(XLMEmbeddings(model=str(checkpoints("sentence-encoder", prompts=prompts))))


def local_task():
    from datasets import Dataset
    from mteb.abstasks import AbsTaskSTS
    from mteb.abstasks.task_metadata import TaskMetadata

    class LocalSTS(AbsTaskSTS):
        metadata = TaskMetadata(
            name="LocalSTS",
            description="Five pairs, scored by hand.",
            dataset={"path": "local/sts", "revision": "1"},
            type="STS",
            eval_langs=["eng-Latn"],
            main_score="cosine_spearman",
        )

        def load_data(self, *args, **kwargs):
            rows = {"sentence1": LEFT, "sentence2": RIGHT, "score": SCORES}
            self.dataset = {"test": Dataset.from_dict(rows)}
            self.data_loaded = True

    return LocalSTS()


def test_a_task_with_local_data_gives_the_figures_of_its_vectors(encoder):
    result = mteb.evaluate(
        encoder, local_task(), cache=None, co2_tracker=False, show_progress_bar=False
    )
    (found,) = result.task_results[0].scores["test"]
    left, right = (np.array(encoder.embeddings.embed_documents(side)) for side in (LEFT, RIGHT))
    expected = stats.spearmanr((left * right).sum(axis=1), SCORES).statistic
    assert found["main_score"] == pytest.approx(expected)
    assert result.model_revision == encoder.embeddings.fingerprint()
    assert result.model_name.startswith("langchain-xlm/")


def test_queries_and_documents_get_their_own_prompts(encoder):
    from mteb.types import PromptType

    batches = [{"text": LEFT[:2]}, {"text": LEFT[2:]}]

    def encode(kind):
        return encoder.encode(
            batches,
            task_metadata=None,
            hf_split="test",
            hf_subset="default",
            prompt_type=kind,
            batch_size=2,
        )

    embeddings = encoder.embeddings
    asked = np.array([embeddings.embed_query(text) for text in LEFT])
    assert encode(PromptType.query) == pytest.approx(asked, abs=1e-5)
    told = np.array(embeddings.embed_documents(LEFT))
    assert encode(PromptType.document) == pytest.approx(told, abs=1e-5)
    assert encode(None) == pytest.approx(told, abs=1e-5)
    assert np.abs(asked - told).max() > 1e-3


def test_similarity_is_the_cosine(encoder):
    one, other = np.array([[1.0, 0], [1, 1]]), np.array([[2.0, 0], [0, 3]])
    assert encoder.similarity(one, other).numpy() == pytest.approx(
        np.array([[1, 0], [0.7071, 0.7071]]), abs=1e-4
    )
    assert encoder.similarity_pairwise(one, other).numpy() == pytest.approx([1, 0.7071], abs=1e-4)


def test_what_mteb_writes_beside_results(encoder):
    meta = encoder.mteb_model_meta
    assert meta.embed_dim == 32
    assert meta.max_tokens == 128
    assert meta.similarity_fn_name.value == "cosine"
