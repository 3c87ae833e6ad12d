"""Linear layers on oneDNN, whichever library torch was built to take for their type.

For float32 on a CPU torch takes MKL, which reached 110 GFLOP/s on a Zen 5 core of AMD where oneDNN
reached 240, or 120 when told to do with AVX2 (512 tokens, a layer of 3,072 by 768, torch 2.13). For
bfloat16 torch takes oneDNN, but has it bring the weight into its own order at each call, which is a
third of the time of a product with 12 tokens. Here that is done once, as torch's own compiler does
for models that it freezes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from langchain_xlm.models.device_maps import is_whole_on_cpu
from langchain_xlm.models.headers import SAVED_AS, read_headers
from langchain_xlm.models.memory import freed_at_once
from langchain_xlm.models.processor import has_wide_vectors, packs

if TYPE_CHECKING:
    from langchain_xlm.models.loading import LoadedModel

__all__ = ["OneDNNLinear", "use_onednn"]


class OneDNNLinear(torch.nn.Linear):
    """A linear layer for inference whose product oneDNN computes."""

    @classmethod
    def of(cls, layer: torch.nn.Linear, *, packed: bool) -> OneDNNLinear:
        """Take over the values of a layer.

        Args:
            layer: A layer on the CPU without gradients, float32 or bfloat16.
            packed: Whether its weight is copied into the order that oneDNN multiplies fastest; else
                it is used where it lies.

        Returns:
            A layer that computes the same up to the order of the sums.
        """
        has_bias = layer.bias is not None
        with torch.device("meta"):
            made = cls(layer.in_features, layer.out_features, bias=has_bias)
        made.weight, made.bias = layer.weight, layer.bias
        if packed:
            weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), None)
            made.weight = torch.nn.Parameter(weight, requires_grad=False)
        return made.train(layer.training)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the name torch gives it
        """Multiply with the weight, and add the bias.

        Args:
            input: `(..., inputs)`, of the weight's dtype.

        Returns:
            `(..., outputs)`, of the same dtype.
        """
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            input, self.weight, self.bias, "none", [], ""
        )
        return product


def use_onednn(loaded: LoadedModel) -> int:
    """Have the plain linear layers of a model multiply with oneDNN.

    A weight is packed where that takes no memory: not if it lies in the file, where the system can
    take its pages back, nor if other modules share it, as output layers share the vocabulary's.
    What is not packed multiplies a few tokens faster than MKL with AVX-512 alone, and is left to
    MKL without.

    Args:
        loaded: A loaded model; one that is not whole on a CPU stays as it is.

    Returns:
        How many layers changed.
    """
    model = loaded.model
    if not is_whole_on_cpu(model):
        return 0
    spec = loaded.spec
    if spec.folder is None:  # the commit that was loaded, without asking the hub again
        spec = replace(spec, revision=loaded.revision)
    saved = read_headers(spec).dtype
    owners = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    changed = 0
    with freed_at_once():
        # Names alone: a list of modules would keep every weight until the last one is packed.
        for name in [name for name, _ in model.named_modules()]:
            layer = model.get_submodule(name)
            if type(layer) is not torch.nn.Linear or not packs(layer.weight.dtype):
                continue
            is_mapped = SAVED_AS[str(layer.weight.dtype)] == saved
            packed = owners[id(layer.weight)] == 1 and not is_mapped
            if packed or has_wide_vectors():
                model.set_submodule(name, OneDNNLinear.of(layer, packed=packed))
                changed += 1
    return changed
