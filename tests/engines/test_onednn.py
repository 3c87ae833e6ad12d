"""Every engine on torch has its linear layers multiply with oneDNN."""

from __future__ import annotations

import pytest
import torch

from langchain_xlm.engines.classifier import ClassifierSession
from langchain_xlm.engines.encoder_session import EncoderSession
from langchain_xlm.engines.generator_session import GeneratorSession
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.onednn import OneDNNLinear
from langchain_xlm.models.processor import packs

pytestmark = pytest.mark.skipif(
    not packs(torch.float32), reason="torch has no linear layers of oneDNN here"
)


@pytest.mark.parametrize(
    ("session", "task", "layers"),
    [
        (EncoderSession, "encoder", 6 * 6),
        (ClassifierSession, "classifier", 6 * 6 + 2),
        (GeneratorSession, "seq2seq", 4 * 6 + 2 * 10),
    ],
)
def test_layers_of_the_starter_are_packed(session: type, task: str, layers: int) -> None:
    opened = session(LoadSpec(task, "starter", device="cpu", backend="torch"))
    modules = opened._loaded.model.modules()
    packed = [each for each in modules if isinstance(each, OneDNNLinear) and each.weight.is_mkldnn]
    opened.close()
    assert len(packed) >= layers
