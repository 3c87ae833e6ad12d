"""Linear layers on oneDNN: the same results, packed only where it takes no memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.footprint import model_bytes
from langchain_xlm.models.loading import LoadedModel, load_model
from langchain_xlm.models.onednn import OneDNNLinear, use_onednn
from langchain_xlm.models.processor import computes_bfloat16, has_wide_vectors, packs
from tests.models.test_loading import TASKS, run
from tests.tiny import KINDS

Checkpoints = Callable[..., Path]

pytestmark = pytest.mark.skipif(
    not packs(torch.float32), reason="torch has no linear layers of oneDNN here"
)


def load(folder: Path, kind: str, **options: object) -> LoadedModel:
    return load_model(LoadSpec(TASKS[kind], str(folder), **options))  # type: ignore[arg-type]


def changed(loaded: LoadedModel, *, packed: bool) -> list[str]:
    return [
        name
        for name, layer in loaded.model.named_modules()
        if isinstance(layer, OneDNNLinear) and layer.weight.is_mkldnn == packed
    ]


def in_half(folder: Path, to: Path) -> Path:
    """A copy of a checkpoint whose files are in float16."""
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, to)
    weights = load_file(to / "model.safetensors")
    halves = {name: each.half() for name, each in weights.items()}
    save_file(halves, to / "model.safetensors", metadata={"format": "pt"})
    return to


@pytest.mark.parametrize("shape", [(1, 24), (3, 24), (2, 5, 24), (0, 24), (700, 24)])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_computes_what_it_did(shape: tuple[int, ...], packed: bool, bias: bool) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(24, 40, bias=bias).requires_grad_(False).eval()
    quick = OneDNNLinear.of(layer, packed=packed)
    states = torch.randn(shape)
    assert quick.weight.is_mkldnn == packed
    assert not quick.training
    assert torch.allclose(quick(states), layer(states), atol=1e-5)
    turned = torch.randn(24, 7).t()  # not contiguous
    assert torch.allclose(quick(turned), layer(turned), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_computes_what_it_did(
    kind: str, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    folder = in_half(checkpoints(kind), tmp_path / "half")
    plain, quick = (load(folder, kind, dtype="float32") for _ in range(2))
    assert use_onednn(quick) > 0
    assert changed(quick, packed=True)
    wanted = run(plain.model, plain.tokenizer)
    off = (run(quick.model, quick.tokenizer) - wanted).norm() / wanted.norm()
    assert off < 1e-5
    # Nothing is there twice.
    assert model_bytes(quick.model) == model_bytes(plain.model)


@pytest.mark.skipif(not computes_bfloat16(), reason="this processor imitates bfloat16")
@pytest.mark.parametrize("kind", KINDS)
def test_so_it_does_in_16_bits(kind: str, checkpoints: Checkpoints) -> None:
    plain, quick = (load(checkpoints(kind), kind, dtype="bfloat16") for _ in range(2))
    assert use_onednn(quick) > 0
    assert changed(quick, packed=True)
    wanted = run(plain.model, plain.tokenizer).float()
    assert (run(quick.model, quick.tokenizer).float() - wanted).norm() / wanted.norm() < 0.05


def test_weights_that_lie_in_the_file_are_not_copied(checkpoints: Checkpoints) -> None:
    loaded = load(checkpoints("xlm-roberta"), "xlm-roberta", dtype="float32")
    places = {name: each.data_ptr() for name, each in loaded.model.named_parameters()}
    use_onednn(loaded)
    assert not changed(loaded, packed=True)
    assert bool(changed(loaded, packed=False)) == has_wide_vectors()
    assert places == {name: each.data_ptr() for name, each in loaded.model.named_parameters()}


def test_an_output_layer_goes_on_sharing_the_vocabulary(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    loaded = load(in_half(checkpoints("nllb"), tmp_path / "half"), "nllb", dtype="float32")
    use_onednn(loaded)
    assert "lm_head" not in changed(loaded, packed=True)
    assert loaded.model.lm_head.weight is loaded.model.get_input_embeddings().weight


def test_a_split_model_stays_as_it_is(checkpoints: Checkpoints, tmp_path: Path) -> None:
    places: dict[str, str | int] = {"embeddings": "cpu", "encoder": "disk"}
    loaded = load(
        checkpoints("xlm-roberta"), "xlm-roberta", device_map=places, offload_folder=str(tmp_path)
    )
    assert use_onednn(loaded) == 0


def test_quantized_layers_stay_as_they_are(checkpoints: Checkpoints) -> None:
    loaded = load(checkpoints("nllb"), "nllb", quantization="4bit")
    kinds = {name: type(layer).__name__ for name, layer in loaded.model.named_modules()}
    use_onednn(loaded)
    for name, layer in loaded.model.named_modules():
        if kinds[name] == "Linear4bit":
            assert type(layer).__name__ == "Linear4bit"
    run(loaded.model, loaded.tokenizer)


def test_each_weight_goes_before_the_next_is_packed(
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import weakref

    loaded = load(
        in_half(checkpoints("xlm-roberta"), tmp_path / "half"), "xlm-roberta", dtype="float32"
    )
    seen: list[weakref.ref[torch.Tensor]] = []
    most_alive = 0
    of = OneDNNLinear.of

    def watched(layer: torch.nn.Linear, *, packed: bool) -> OneDNNLinear:
        nonlocal most_alive
        seen.append(weakref.ref(layer.weight))
        most_alive = max(most_alive, sum(each() is not None for each in seen))
        return of(layer, packed=packed)

    monkeypatch.setattr(OneDNNLinear, "of", watched)
    use_onednn(loaded)
    assert len(seen) > 10
    assert most_alive == 1
