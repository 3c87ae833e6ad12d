from __future__ import annotations

import numpy as np
import pytest

from langchain_xlm import XLMEmbeddings

CHECKPOINTS = [
    ("intfloat/multilingual-e5-small", "614241f622f53c4eeff9890bdc4f31cfecc418b3"),
    (
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        "e8f8c211226b894fcb81acc59f3b34ba3efd5f42",
    ),
]
PAIRS = [
    ("Where is the station?", "Wo ist der Bahnhof?"),
    ("The cat sleeps on the sofa.", "Le chat dort sur le canapé."),
    ("I would like a cup of coffee.", "コーヒーを一杯ください。"),
    ("The book was very boring.", "Kitap çok sıkıcıydı."),
]


@pytest.fixture(params=CHECKPOINTS, ids=lambda checkpoint: checkpoint[0].partition("/")[2])
def checkpoint(request):
    return request.param


def test_vectors_equal_those_of_sentence_transformers(checkpoint):
    from sentence_transformers import SentenceTransformer

    model, revision = checkpoint
    embeddings = XLMEmbeddings(model=model, revision=revision, device="cpu")
    # E5 has its prompts in its paper, not in its files.
    prompt = "passage: " if "e5" in model else ""
    texts = [text for pair in PAIRS for text in pair]
    reference = SentenceTransformer(model, revision=revision, device="cpu")
    expected = reference.encode([prompt + text for text in texts], normalize_embeddings=True)
    vectors = np.array(embeddings.embed_documents(texts))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert (vectors * expected).sum(axis=1).min() > 0.99999


def test_translations_are_nearest(checkpoint):
    model, revision = checkpoint
    embeddings = XLMEmbeddings(model=model, revision=revision)
    english = np.array([embeddings.embed_query(pair[0]) for pair in PAIRS])
    others = np.array(embeddings.embed_documents([pair[1] for pair in PAIRS]))
    assert (english @ others.T).argmax(axis=1).tolist() == list(range(len(PAIRS)))
