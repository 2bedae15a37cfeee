"""Train a torch module with weights that stay zero, in the patterns of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from edgesparse.errors import InputError
from edgesparse.frontend import require_torch
from edgesparse.passes.weights import WEIGHTED, source_names
from edgesparse.patterns import Pattern, parse_pattern
from edgesparse.sparsity.recipe import LayerRecipe, Recipe, read_recipe

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer


@dataclass(frozen=True, slots=True)
class Gradual:
    """Sparsity that grows over ``steps`` steps of the optimizer, from step ``begin`` on, a new mask ``every`` steps.

    ``s(t) = s (1 - (1 - (t - begin) / steps)^3)``: fast at first, while there is much to spare; fixed afterwards.

    Source: Zhu and Gupta 2017, "To prune, or not to prune", https://arxiv.org/abs/1710.01878; the models of "Fast
    Sparse ConvNets" come from this family.
    """

    steps: int
    begin: int = 0
    every: int = 10

    def sparsity(self, final: float, step: int) -> float:
        done = min(1.0, max(0.0, (step - self.begin) / self.steps))
        return float(final * (1.0 - (1.0 - done) ** 3))


@dataclass(slots=True)
class _Masked:
    parameter: Tensor
    pattern: Pattern
    sparsity: float
    mask: Tensor


class TorchMasks:
    """Masks by the name of the parameter. Made by `torch_masks`.

    The module itself is not changed but for the zeros: its state dict has the same keys as before, and what is exported
    is an ordinary module. `state_dict` and `load_state_dict` of this object keep masks and step for a later session.
    """

    def __init__(self, layers: dict[str, _Masked], schedule: Gradual | None) -> None:
        self._layers, self._schedule = layers, schedule
        self._hook: Any = None
        self.step = 0
        self._choose()
        self.apply()

    @property
    def masks(self) -> dict[str, Tensor]:
        """True where a weight may be other than zero."""
        return {name: layer.mask for name, layer in self._layers.items()}

    def zeros(self) -> dict[str, tuple[int, int]]:
        """(zeros of the mask, weights) for each parameter."""
        return {n: (int((~x.mask).sum()), x.mask.numel()) for n, x in self._layers.items()}

    def attach(self, optimizer: Optimizer) -> TorchMasks:
        """From now on zero what the masks say after each ``optimizer.step()``, in weights and in momenta.

        Both: momentum that is left would move a pruned weight at the next step, if only for the moment before it is
        zeroed again, and would take part where a mask grows.
        """
        self.detach()

        def after(optimizer: Any, *_: Any) -> None:
            self.step += 1
            if self._moves():
                self._choose()
            self.apply(optimizer)

        self._hook = optimizer.register_step_post_hook(after)
        return self

    def detach(self) -> None:
        """Leave the optimizer alone again."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def apply(self, optimizer: Optimizer | None = None) -> None:
        """Zero weights now, and the buffers that ``optimizer`` keeps of them."""
        import torch

        with torch.no_grad():
            for layer in self._layers.values():
                # not a product: 0 * inf is NaN, and -w * 0 is -0
                layer.parameter.masked_fill_(~layer.mask, 0.0)
                state = {} if optimizer is None else optimizer.state.get(layer.parameter, {})
                for buffer in state.values():
                    if isinstance(buffer, torch.Tensor) and buffer.shape == layer.mask.shape:
                        buffer.masked_fill_(~layer.mask, 0.0)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "masks": {name: mask.clone() for name, mask in self.masks.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises InputError for masks of other parameters or shapes."""
        found = state.get("masks", {})
        shapes = {name: tuple(mask.shape) for name, mask in self.masks.items()}
        if {name: tuple(mask.shape) for name, mask in found.items()} != shapes:
            raise InputError("masks of other parameters", hint=f"these are of {', '.join(shapes)}")
        self.step = int(state["step"])
        for name, layer in self._layers.items():
            layer.mask = found[name].to(layer.parameter.device).clone()
        self.apply()

    def _moves(self) -> bool:
        """Whether a new mask is due at this step."""
        plan = self._schedule
        if plan is None or not plan.begin <= self.step <= plan.begin + plan.steps:
            return False
        return (self.step - plan.begin) % plan.every == 0 or self.step == plan.begin + plan.steps

    def _choose(self) -> None:
        import torch

        for layer in self._layers.values():
            plan = self._schedule
            wanted = layer.sparsity if plan is None else plan.sparsity(layer.sparsity, self.step)
            weight = layer.parameter.detach().cpu().float().numpy()
            mask = layer.pattern.mask(weight, wanted) if wanted else weight == weight
            layer.mask = torch.from_numpy(mask.copy()).to(layer.parameter.device)


def torch_masks(
    module: nn.Module, recipe: Recipe | Mapping[str, LayerRecipe] | str | Path, optimizer: Optimizer | None = None, *,
    exported: ir.Model | None = None, schedule: Gradual | None = None,
) -> TorchMasks:  # fmt: skip
    """Zero the weights of ``module`` that ``recipe`` says, by magnitude, and keep them zero while it is trained.

        masks = es.torch_masks(net, "recipe.json", optimizer, exported=es.load("model.onnx"))

    A layer of the recipe is the name of a parameter (``features.3.weight``), of the module that owns it
    (``features.3``), or of a node in ``exported``, the ONNX model that the recipe was made for: exporters call
    nodes what they like, but keep the parameters' names for the weights.

    Args:
        optimizer: to `TorchMasks.attach` to; else call ``apply`` after each step.
        schedule: grow the sparsity; without one the mask is chosen now and stays.

    Raises:
        InputError: torch is not installed, a name that is found nowhere, a pattern that the weight cannot have, NaN.
    """
    torch = require_torch()
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"not a torch.nn.Module but {type(module).__name__}", hint="es.torch_masks(module, recipe)")
    if schedule is not None and (schedule.steps < 1 or schedule.every < 1 or schedule.begin < 0):
        raise InputError(
            f"a schedule cannot be {schedule}", hint="steps and every are 1 or more, begin is not negative"
        )
    read = read_recipe(Path(recipe)) if isinstance(recipe, str | Path) else recipe
    wanted = read.layers if isinstance(read, Recipe) else read
    parameters = dict(module.named_parameters())
    layers: dict[str, _Masked] = {}
    for key, layer in wanted.items():
        name = _parameter_name(key, module, parameters, exported)
        pattern, parameter = parse_pattern(layer.pattern), parameters[name]
        refused = _refusal(pattern, module, name, parameter, schedule)
        if refused:
            raise InputError(f"'{name}' cannot have the pattern {layer.pattern}: {refused}", where=f"recipe, '{key}'")
        if name in layers:
            raise InputError(f"two layers of the recipe are the parameter '{name}'", where=f"recipe, '{key}'")
        sparsity = layer.sparsity if pattern.fixed_sparsity is None else pattern.fixed_sparsity
        mask = torch.ones_like(parameter, dtype=torch.bool)
        layers[name] = _Masked(parameter, pattern, sparsity, mask)
    masks = TorchMasks(layers, schedule)
    return masks if optimizer is None else masks.attach(optimizer)


def _parameter_name(key: str, module: nn.Module, parameters: Mapping[str, Tensor], exported: ir.Model | None) -> str:
    if key in parameters:
        return key
    if f"{key}.weight" in parameters:
        return f"{key}.weight"
    if exported is not None:
        nodes = {n.name: n for n in exported.graph if n.name and n.op_type in WEIGHTED}
        found = [n for n in source_names(nodes[key]) if n in parameters] if key in nodes else []
        # the bias may be a parameter of the node, too
        found = [n for n in found if parameters[n].ndim >= 2]
        if len(found) == 1:
            return found[0]
    near = get_close_matches(key, list(parameters), n=3) or [n for n, p in parameters.items() if p.ndim >= 2][:3]
    hint = f"parameters: {', '.join(near)}"
    if exported is None:
        hint = f"if it is the name of a node, give exported=, the model that the recipe was made for; {hint}"
    raise InputError(
        f"the recipe names '{key}', which is no weight of {type(module).__name__}", where="recipe", hint=hint
    )


def _refusal(pattern: Pattern, module: nn.Module, name: str, parameter: Tensor, schedule: Gradual | None) -> str:
    """Why this weight cannot be pruned so, or ""."""
    import torch

    owner = module.get_submodule(name.rpartition(".")[0])
    kinds = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    if not isinstance(owner, kinds):
        return f"{type(owner).__name__} is neither linear nor a convolution"
    if bool(torch.isnan(parameter).any()):
        return "it holds NaN"
    if schedule is not None and pattern.fixed_sparsity is not None:
        return "its sparsity is fixed and cannot grow: leave the schedule out"
    groups = getattr(owner, "groups", 1)
    if groups > 1 and parameter.shape[1] > 1:
        return f"it is in {groups} groups"
    return pattern.refuses(tuple(parameter.shape), groups > 1)
