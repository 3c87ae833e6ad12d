"""Training in bfloat16 with float32 masters, and the schedule of the learning rate."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from langchain_xlm.models.processor import computes_bfloat16


def lower_precision(model: nn.Module) -> None:
    """Put a model into bfloat16, in place, but for its embedding tables.

    Tables gather gradients from many tokens, which bfloat16 would round away; what leaves
    them is cast, so that all further work is in bfloat16. On a processor that does not multiply
    matrices of bfloat16 the model stays in float32: there torch converts every product, and
    20 GFLOP/s were left of 170 (two Zen 3 cores, torch 2.13).

    Args:
        model: A float32 model, already on its device.
    """
    if next(model.parameters()).device.type == "cpu" and not computes_bfloat16():
        return
    embeddings = [
        module for module in model.modules() if type(module).__name__.endswith("Embeddings")
    ]
    model.to(torch.bfloat16)
    for module in embeddings:
        module.float()
        module.register_forward_hook(lambda _module, _inputs, output: output.to(torch.bfloat16))


class Optimizer:
    """AdamW on float32 masters of a bfloat16 model.

    Source:
        Micikevicius et al. 2018, https://arxiv.org/abs/1710.03740
    """

    def __init__(
        self,
        model: nn.Module,
        initial: Mapping[str, torch.Tensor],
        rate_of: Callable[[str], float],
        *,
        weight_decay: float,
        betas: tuple[float, float] = (0.9, 0.98),
    ) -> None:
        """Take the masters from the weights as they were before rounding.

        Args:
            model: The model, already in its working precision.
            initial: Weights before rounding, by parameter name.
            rate_of: Peak learning rate of a parameter, by name.
            weight_decay: Of matrices other than embeddings.
            betas: Averaging of the gradients and of their squares.
        """
        self.names: list[str] = []
        self.working: list[nn.Parameter] = []
        self.masters: list[nn.Parameter] = []
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            same = parameter.dtype == torch.float32
            master = (
                parameter
                if same
                else nn.Parameter(initial[name].to(parameter.device, torch.float32, copy=True))
            )
            self.names.append(name)
            self.working.append(parameter)
            self.masters.append(master)
            decays = parameter.ndim > 1 and "embeddings" not in name
            groups.setdefault((rate_of(name), weight_decay if decays else 0.0), []).append(master)
        self._rounded = [
            (w, m) for w, m in zip(self.working, self.masters, strict=True) if w is not m
        ]
        self.adam = torch.optim.AdamW(
            [
                {"params": parameters, "lr": rate, "peak": rate, "weight_decay": decay}
                for (rate, decay), parameters in groups.items()
            ],
            betas=betas,
            fused=True,
        )

    def step(self, scale: float, *, clip: float = 1.0) -> float:
        """Apply and clear the gradients.

        Args:
            scale: Where the schedule stands, as a fraction of the peak rate.
            clip: Greatest norm of the gradient.

        Returns:
            The norm of the gradient before clipping.
        """
        for working, master in self._rounded:
            if working.grad is not None:
                master.grad = working.grad.float()
                working.grad = None
        norm = nn.utils.clip_grad_norm_(self.masters, clip)
        for group in self.adam.param_groups:
            group["lr"] = group["peak"] * scale
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        if self._rounded:
            with torch.no_grad():
                torch._foreach_copy_(
                    [working for working, _ in self._rounded],
                    [master for _, master in self._rounded],
                )
        return float(norm)

    def weights(self) -> dict[str, torch.Tensor]:
        """Copy the masters, by parameter name."""
        return {
            name: master.detach().float().cpu().clone()
            for name, master in zip(self.names, self.masters, strict=True)
        }

    def state_dict(self) -> dict[str, Any]:
        """Give everything that training goes on from."""
        return {"weights": self.weights(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.adam.load_state_dict(state["adam"])
        with torch.no_grad():
            for name, working, master in zip(self.names, self.working, self.masters, strict=True):
                master.copy_(state["weights"][name])
                working.copy_(master)


class Clock:
    """A schedule by the clock: a linear warm-up by steps, then a linear decay to zero in time."""

    def __init__(self, minutes: float, warmup_steps: int) -> None:
        """Set the length.

        Args:
            minutes: How long to train.
            warmup_steps: Steps until the peak rate.
        """
        self.seconds = minutes * 60
        self.warmup_steps = warmup_steps
        self.steps = 0
        self._before = 0.0
        self._started = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds of training, earlier runs included."""
        return self._before + time.monotonic() - self._started

    @property
    def finished(self) -> bool:
        """Whether the time is used up."""
        return self.elapsed_s >= self.seconds

    def tick(self) -> float:
        """Count a step and give its learning rate as a fraction of the peak."""
        self.steps += 1
        left = max(1.0 - self.elapsed_s / self.seconds, 0.0)
        return min(self.steps / max(self.warmup_steps, 1), left)

    def state_dict(self) -> dict[str, float]:
        """Give what to go on from."""
        return {"steps": self.steps, "elapsed_s": self.elapsed_s}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from a saved state."""
        self.steps = int(state["steps"])
        self._before = state["elapsed_s"]
        self._started = time.monotonic()


def average(states: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Average weights of the same names."""
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}
