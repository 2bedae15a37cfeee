"""The values that a decoder consists of. Each is built once and never changed; weights are ``(outputs, inputs)``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edgesparse.types import Array

Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]
SITES = ("q", "k", "v", "o", "gate", "up", "down")
"""The linear layers of a block, in the order in which they run."""
SAME_INPUT = (("q", "k", "v"), ("gate", "up"))
"""Those that read the same vector; gate and up only without a predictor."""


@dataclass(frozen=True, slots=True)
class InputRule:
    """Which inputs of a linear layer count, for one token: those with ``|x[i]| > threshold[i]``.

    ``threshold``: ``(1,)`` or ``(inputs,)``, floats; 0 skips what is exactly zero. With ``spread``, the threshold is
    ``mean(|x|) + spread * std(|x|)`` of the token at hand (statistical top-k) and ``threshold`` is not used.
    ``rank``: what was skipped goes through the best approximation of the weights by a matrix of that rank
    (R-Sparse); 0 leaves it out. ``sparsity`` is the share that was skipped at calibration.
    """

    method: str
    sparsity: float
    threshold: Array
    spread: float | None = None
    rank: int = 0


@dataclass(frozen=True, slots=True)
class NeuronRule:
    """Which neurons of a gated feed-forward network count: those with ``|a[i]| > threshold[i]``, ``a`` the activated
    gate. Rows of ``up`` and inputs of ``down`` are computed for these alone.

    ``threshold``: ``(1,)`` or ``(hidden,)``; 0 is exact for ReLU. ``spread`` as in `InputRule`, on ``a``.
    """

    method: str
    sparsity: float
    threshold: Array
    spread: float | None = None


@dataclass(frozen=True, slots=True)
class Linear:
    """``y = weight @ x + bias``; ``weight``: (outputs, inputs), float32 or float16, possibly mapped from a file."""

    weight: Array
    bias: Array | None = None
    rule: InputRule | None = None

    @property
    def outputs(self) -> int:
        return int(self.weight.shape[0])

    @property
    def inputs(self) -> int:
        return int(self.weight.shape[1])


@dataclass(frozen=True, slots=True)
class Block:
    """One layer: ``x += o(attention(norm(x)))``, ``x += down(act(gate(norm(x))) * up(norm(x)))``.

    Norms are RMSNorm gains, ``(dim,)``, as they multiply (Gemma's ``1 + w`` is added at import). ``q_norm`` and
    ``k_norm``, ``(head_dim,)``, act on each head before RoPE; ``post_attention_norm`` and ``post_mlp_norm`` on what is
    added to ``x``. Without ``gate`` the network is ``down(act(up(norm(x))))``. ``window``: how many positions a token
    sees, itself included; 0 for all. ``neurons`` excludes rules on ``up`` and ``down``.
    ``predictor`` (Spark Transformer): ``gate`` reads the first ``predictor`` entries of its input, ``up`` the others.
    """

    attention_norm: Array
    q: Linear
    k: Linear
    v: Linear
    o: Linear
    mlp_norm: Array
    gate: Linear | None
    up: Linear
    down: Linear
    q_norm: Array | None = None
    k_norm: Array | None = None
    post_attention_norm: Array | None = None
    post_mlp_norm: Array | None = None
    window: int = 0
    neurons: NeuronRule | None = None
    predictor: int = 0

    def linears(self) -> Iterator[tuple[str, Linear]]:
        """(site, layer) in the order of `SITES`."""
        for site in SITES:
            layer = getattr(self, site)
            if layer is not None:
                yield site, layer


@dataclass(frozen=True, slots=True)
class Decoder:
    """A whole network. ``embedding``: (vocabulary, dim); ``head``: (vocabulary, dim), None where it is the embedding.

    ``frequencies``: (rotary / 2,), radians a position, of RoPE's pairs: neighbours where ``interleaved`` (llama2.c),
    else halves of the head (Hugging Face). ``context``: positions that the model was made for. Soft caps are
    ``cap * tanh(x / cap)``; 0 for none. Scores are ``q . k * attention_scale``. What the embedding gives is multiplied
    by ``embedding_scale``. ``dense_positions``: rules do not hold for the first positions of a sequence: attention
    sinks have huge activations. ``bos``: the token that sequences begin with, -1 for none; ``stops``: tokens that end
    one.
    """

    name: str
    embedding: Array
    blocks: tuple[Block, ...]
    final_norm: Array
    head: Array | None
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    frequencies: Array
    interleaved: bool
    norm_eps: float
    activation: Activation
    attention_scale: float
    attention_cap: float = 0.0
    logit_cap: float = 0.0
    embedding_scale: float = 1.0
    dense_positions: int = 4
    bos: int = -1
    stops: tuple[int, ...] = ()

    @property
    def dim(self) -> int:
        return int(self.embedding.shape[1])

    @property
    def vocabulary(self) -> int:
        return int(self.embedding.shape[0])

    @property
    def hidden(self) -> int:
        return self.blocks[0].up.outputs
