"""Networks with ReLU: what is zero is skipped, exactly; and with a threshold, a little more."""

from __future__ import annotations

import numpy as np

from edgesparse.decoder.model import Decoder, InputRule, NeuronRule
from edgesparse.decoder.sites import Place, Progress, check_sparsity, nothing, quantile, sample
from edgesparse.decoder.thresholds import bare, measured, with_rules
from edgesparse.errors import InputError
from edgesparse.types import Array

METHOD = "relu"


def calibrate_relu(
    decoder: Decoder, windows: Array, sparsity: float = 0.0, *, on_progress: Progress = nothing
) -> Decoder:
    """Compute the neurons whose activation is above ``t``, in each block ``t >= 0`` such that ``sparsity`` is skipped.

    Where as many are zero anyway, ``t = 0`` and the outputs stay what they are (ProSparse); above that it is FATReLU,
    ``x if x > t else 0``. Without a gate, the inputs of down are the activations.

    Raises:
        InputError: another activation than ReLU, sparsity of 1 or more, windows too short.

    Source: "ProSparse: Introducing and Enhancing Intrinsic Activation Sparsity within Large Language Models".
    """
    check_sparsity(sparsity)
    if decoder.activation != "relu":
        raise InputError(
            f"the activation of '{decoder.name}' is {decoder.activation}, of which nothing is exactly zero",
            where="--method", hint="--method cats skips neurons with a small gate; teal and wina fit every decoder",
        )  # fmt: skip
    decoder = bare(decoder)
    samples = sample(decoder, windows, on_progress)
    inputs: dict[Place, InputRule | None] = {}
    neurons: dict[int, NeuronRule | None] = {}
    for index, block in enumerate(decoder.blocks):
        a = samples[index, "down" if block.gate is None else "act"]
        threshold = np.array([quantile(np.maximum(a, 0), sparsity)], np.float32)
        if block.gate is None:
            inputs[index, "down"] = InputRule(METHOD, sparsity, threshold)
        else:
            neurons[index] = NeuronRule(METHOD, sparsity, threshold)
    return measured(with_rules(decoder, inputs, neurons), samples)
