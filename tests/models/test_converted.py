from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from langchain_xlm.errors import ConfigurationError, InsufficientMemoryError, ModelLoadError
from langchain_xlm.models import conversion, converting
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.converted import family_here, load_converted
from langchain_xlm.models.converting import converting_bytes
from langchain_xlm.models.footprint import expected_bytes

Checkpoints = Callable[..., Path]


def spec_of(folder: Path, **options: Any) -> LoadSpec:
    return LoadSpec("seq2seq", model=str(folder), backend="ctranslate2", **options)


def copies(cache: Path) -> list[Path]:
    root = cache / "langchain-xlm" / "ctranslate2" / "models"
    return sorted(path for path in root.iterdir() if path.is_dir())


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where copies were written."""
    written: list[Path] = []
    real = conversion.write_copy

    def counting(loaded: Any, source: Path, folder: Path, **options: Any) -> None:
        written.append(folder)
        real(loaded, source, folder, **options)

    monkeypatch.setattr(conversion, "write_copy", counting)
    return written


def test_a_checkpoint_is_converted_once(
    checkpoints: Checkpoints, tmp_path: Path, conversions: list[Path]
) -> None:
    folder = checkpoints("nllb")
    before = contents(folder)
    spec = spec_of(folder, cache_dir=str(tmp_path))
    first, second = load_converted(spec), load_converted(spec)
    assert len(conversions) == 1
    assert len(copies(tmp_path)) == 1
    assert contents(folder) == before, "nothing is written into the model's folder"
    assert first.difference == second.difference < conversion.BOUNDS["float32"]
    assert first.spec == spec


def test_threads_wait_for_each_other(
    checkpoints: Checkpoints, tmp_path: Path, conversions: list[Path]
) -> None:
    spec = spec_of(checkpoints("marian"), cache_dir=str(tmp_path))
    with ThreadPoolExecutor(3) as threads:
        loaded = list(threads.map(load_converted, [spec] * 3))
    assert len(conversions) == 1
    assert {each.difference for each in loaded} == {loaded[0].difference}


def test_other_weights_and_other_numbers_get_other_copies(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(checkpoints("nllb"), folder)
    cache = tmp_path / "cache"
    exact = load_converted(spec_of(folder, cache_dir=str(cache)))
    eight = load_converted(spec_of(folder, cache_dir=str(cache), quantization="8bit"))
    assert (exact.weights, eight.weights) == ("float32", "int8")
    assert exact.difference < eight.difference < conversion.BOUNDS["int8"]
    size, small = ((copy / "model.bin").stat().st_size for copy in copies(cache))
    assert small < 0.6 * size
    weights = load_file(folder / "model.safetensors")
    weights["model.shared.weight"] *= 1.01
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    load_converted(spec_of(folder, cache_dir=str(cache)))
    assert len(copies(cache)) == 3


def test_a_copy_that_differs_is_refused(
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a converter would that takes another activation: what the copy computes is near, not equal.
    real = conversion.write_copy

    def wrong(loaded: Any, source: Path, folder: Path, **options: Any) -> None:
        loaded.model.model.decoder.layers[0].fc1.weight *= 0.9
        real(loaded, source, folder, **options)

    monkeypatch.setattr(conversion, "write_copy", wrong)
    spec = spec_of(checkpoints("nllb"), cache_dir=str(tmp_path))
    with pytest.raises(ModelLoadError, match=r"differs from the original.*backend='torch'"):
        load_converted(spec)
    assert copies(tmp_path) == [], "nothing of it is left"


def test_a_converter_that_fails_is_explained(
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "_FOR_CONVERTERS", {})
    spec = spec_of(checkpoints("mbart50"), cache_dir=str(tmp_path))
    with pytest.raises(ModelLoadError, match=r"CTranslate2 .* could not convert.*normalize_before"):
        load_converted(spec)
    assert copies(tmp_path) == []


def test_the_scale_of_an_output_is_checked(
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(checkpoints("mt5"), folder)
    weights = load_file(folder / "model.safetensors")
    weights["shared.weight"] *= 0.05
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    spec = spec_of(folder, cache_dir=str(tmp_path / "cache"))
    monkeypatch.setattr(conversion, "_FOR_CONVERTERS", {})
    with pytest.raises(ModelLoadError, match="differs from the original"):
        load_converted(spec)
    monkeypatch.undo()
    assert load_converted(spec).difference < conversion.BOUNDS["float32"]


def test_a_full_disk_is_an_error_with_advice(
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(conversion, "write_copy", full)
    spec = spec_of(checkpoints("nllb"), cache_dir=str(tmp_path))
    with pytest.raises(ModelLoadError, match=r"No space left.*HF_ASSETS_CACHE"):
        load_converted(spec)


def test_a_copy_that_would_not_fit_is_not_made(
    checkpoints: Checkpoints,
    tmp_path: Path,
    conversions: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Told of little memory, as in a small container."""
    from langchain_xlm.engines.opening import open_model
    from langchain_xlm.models.machine import Device

    spec = LoadSpec("seq2seq", str(checkpoints("nllb")), cache_dir=str(tmp_path), dtype="float32")
    needed = converting_bytes(spec)
    weights = expected_bytes(spec)
    assert 2 * weights < needed < 3 * weights
    small = Device("cpu", "x86_64", 2**40, needed)  # a tenth of it is kept back
    monkeypatch.setattr(converting, "find_devices", lambda: (small,))
    opened = open_model(spec)
    assert opened.backend == "torch"
    assert "runs on torch instead" in caplog.text
    with pytest.raises(InsufficientMemoryError, match="making its copy for CTranslate2") as caught:
        open_model(replace(spec, backend="ctranslate2"))
    assert (caught.value.needed_bytes, caught.value.free_bytes) == (needed, needed)
    assert not conversions
    roomy = Device("cpu", "x86_64", 2**40, 2 * needed)
    monkeypatch.setattr(converting, "find_devices", lambda: (roomy,))
    assert open_model(spec).backend == "ctranslate2"
    assert len(conversions) == 1


def test_quantized_weights_are_not_converted(checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = tmp_path / "quantized"
    shutil.copytree(checkpoints("nllb"), folder)
    settings = json.loads((folder / "config.json").read_text())
    settings["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    (folder / "config.json").write_text(json.dumps(settings))
    assert family_here(LoadSpec("seq2seq", model=str(folder))) is None
    with pytest.raises(ConfigurationError, match="saved quantized"):
        family_here(spec_of(folder))
    found = family_here(spec_of(checkpoints("nllb")))
    assert found is not None
    assert found.model_type == "m2m_100"


def test_copies_go_to_the_hubs_own_place(checkpoints: Checkpoints) -> None:
    folder = converting._folder(spec_of(checkpoints("nllb")), "float32")
    assert folder.is_relative_to(os.environ["HF_ASSETS_CACHE"])
