"""Train a student to do as its teacher does: losses, and the loop. Imports torch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from edgesparse.sparsity.augment import Augmenter
from edgesparse.sparsity.torch_graph import TorchGraph

Progress = Callable[[int, int, str], None]
Parameters = Mapping[str, Tensor]
WARM_UP = 0.05
EMA = 0.99
PATIENCE = 0.5  # of the epochs: before, the rate of learning is still high and losses jump
VARIANTS = 3


@dataclass(frozen=True, slots=True)
class Settings:
    """``minutes`` of CPU time at most, ``hidden`` the weight of the hidden states beside the outputs."""

    epochs: int
    batch: int
    learning_rate: float
    hidden: float
    temperature: float
    minutes: float | None
    seed: int


@dataclass(frozen=True, slots=True)
class Pairing:
    """A hidden state: its name in the student and in the teacher, its axis of channels, and the order of the teacher's
    channels that is the student's (``student[i]`` is ``teacher[order[i]]``); None where both have the same order."""

    student: str
    teacher: str
    axis: int
    order: Tensor | None


@dataclass(frozen=True, slots=True)
class Head:
    """An output to compare: its name in both models, or that of the logits under a Softmax over ``axis``."""

    student: str
    teacher: str
    axis: int | None


@dataclass(frozen=True, slots=True)
class Trained:
    """``parameters`` are those of the epoch ``best`` with the lowest loss on held-out samples; -1 is the start."""

    parameters: dict[str, Tensor]
    losses: tuple[float, ...]
    best: int
    start: float
    stopped: str


def square_head(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """``mean over l of mean((s_l - t_l)^2) / (mean(t_l^2) + eps)``: 0 for equal states, the same for all scales.

    Dividing by the teacher's own energy makes layers comparable; the mean in the place of the paper's sum makes
    networks of different depths so.

    Source: "Sparse Finetuning for Inference Acceleration of Large Language Models" (the SquareHead loss).
    """
    terms = [
        (s - t).square().mean() / (t.square().mean() + torch.finfo(t.dtype).eps) for s, t in _pairs(student, teacher)
    ]
    return torch.stack(terms).mean()


def _pairs(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return list(zip(student, teacher, strict=True))


def head_loss(head: Head, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``T^2 KL(teacher || student)`` of the softened probabilities, or `square_head` where there are none."""
    if head.axis is None:
        return square_head([student], [teacher])
    scores, wanted = (torch.log_softmax(x / temperature, head.axis) for x in (student, teacher))
    every = F.kl_div(scores, wanted, reduction="none", log_target=True).sum(head.axis)
    return temperature**2 * every.mean()


class Distiller:
    """The two networks, what is compared between them, and which weights may change.

    ``masks``: for each pruned weight, 1 where it may be other than zero.
    """

    def __init__(
        self, student: TorchGraph, teacher: TorchGraph, heads: Sequence[Head], pairings: Sequence[Pairing],
        masks: Mapping[str, Tensor], settings: Settings,
    ) -> None:  # fmt: skip
        self.student, self.teacher, self.heads, self.pairings = student, teacher, heads, pairings
        self.masks, self.settings = masks, settings

    def loss(self, inputs: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(of the outputs, of the hidden states, 0 without any)."""
        names = [h.teacher for h in self.heads] + [p.teacher for p in self.pairings]
        with torch.no_grad():
            wanted = self.teacher.run(inputs, {}, names)
        found = self.student.run(
            inputs, parameters, [h.student for h in self.heads] + [p.student for p in self.pairings]
        )
        count = len(self.heads)
        outputs = self._outputs(found[:count], wanted[:count])
        if not self.pairings:
            return outputs, torch.zeros(())
        ordered = [
            t if p.order is None else t.index_select(p.axis, p.order)
            for p, t in zip(self.pairings, wanted[count:], strict=True)
        ]
        return outputs, square_head(found[count:], ordered)

    def _outputs(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        pairs = zip(self.heads, student, teacher, strict=True)
        return torch.stack([head_loss(head, s, t, self.settings.temperature) for head, s, t in pairs]).mean()

    def _judge(self, held_out: Sequence[tuple[dict[str, Tensor], list[Tensor]]], parameters: Parameters) -> float:
        """The loss of the outputs on samples that are not trained on: (inputs, what the teacher says of them)."""
        total = count = 0.0
        with torch.no_grad():
            for inputs, wanted in held_out:
                found = self.student.run(inputs, parameters, [h.student for h in self.heads])
                size = len(next(iter(inputs.values())))
                total, count = total + float(self._outputs(found, wanted)) * size, count + size
        return total / count

    def _answered(self, held_out: Mapping[str, Tensor]) -> list[tuple[dict[str, Tensor], list[Tensor]]]:
        """Batches, and what the teacher says of them: it is asked once."""
        found, size = [], self.settings.batch
        for at in range(0, len(next(iter(held_out.values()))), size):
            part = {name: x[at : at + size] for name, x in held_out.items()}
            with torch.no_grad():
                found.append((part, self.teacher.run(part, {}, [h.teacher for h in self.heads])))
        return found

    def train(
        self, start: Mapping[str, Tensor], samples: Mapping[str, Tensor], held_out: Mapping[str, Tensor],
        augmenters: Mapping[str, Augmenter | None], on_progress: Progress | None = None,
    ) -> Trained:  # fmt: skip
        """Adam, warm-up and cosine, gradients clipped to norm 1; a moving average of the weights is what is judged.

        Stops where the loss on ``held_out`` has not fallen for half of the epochs, or at the limit of time. To that
        belong 3 augmented variants of each sample, always the same: a few samples alone judge by chance.
        """
        settings, generator = self.settings, torch.Generator().manual_seed(self.settings.seed)
        unseen = self._answered(_with_variants(held_out, augmenters, settings.seed + 1))
        live = {k: v.clone().requires_grad_() for k, v in start.items()}
        mean = {k: v.clone() for k, v in start.items()}
        best, lowest = {k: v.clone() for k, v in start.items()}, self._judge(unseen, start)
        at, losses, first, stopped = -1, [], lowest, "all epochs"
        # no decay: it pulls towards zero what the teacher has
        optimizer = torch.optim.Adam(live.values(), lr=settings.learning_rate)
        count = len(next(iter(samples.values())))
        rounds = max(1, round(count / settings.batch))
        began, step = time.process_time(), 0
        epochs = settings.epochs
        for epoch in range(settings.epochs):
            order = torch.randperm(count, generator=generator)
            for chosen in torch.tensor_split(order, rounds):
                rate = _rate(step / (epochs * rounds))
                for group in optimizer.param_groups:
                    group["lr"] = settings.learning_rate * rate
                self._step(live, optimizer, {k: v[chosen] for k, v in samples.items()}, augmenters, generator)
                step += 1
                with torch.no_grad():
                    keep = min(EMA, step / (step + 10))
                    for name, average in mean.items():
                        average.lerp_(live[name], 1 - keep)
            losses.append(self._judge(unseen, mean))
            if losses[-1] < lowest:
                best, lowest, at = {k: v.clone() for k, v in mean.items()}, losses[-1], epoch
            if epoch == 0 and settings.minutes is not None:
                # fewer epochs than asked for, so that the rate of learning comes down within the time there is
                epochs = max(1, min(epochs, int(60 * settings.minutes / (time.process_time() - began))))
            if on_progress is not None:
                on_progress(epoch + 1, epochs, f"held-out loss {losses[-1]:.4f}")
            late = settings.minutes is not None and time.process_time() - began > 60 * settings.minutes
            if epoch + 1 < settings.epochs and (late or epoch + 1 >= epochs):
                stopped = "limit of time"
                break
            if epoch - at > max(5, PATIENCE * epochs):
                stopped = "no better on held-out samples"
                break
        return Trained(best, tuple(losses), at, first, stopped)

    def _step(
        self, live: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, batch: Mapping[str, Tensor],
        augmenters: Mapping[str, Augmenter | None], generator: torch.Generator,
    ) -> None:  # fmt: skip
        inputs = {}
        for name, x in batch.items():
            change = augmenters.get(name)
            inputs[name] = x if change is None else change(x, generator)
        outputs, hidden = self.loss(inputs, live)
        optimizer.zero_grad()
        torch.autograd.backward(outputs + self.settings.hidden * hidden)
        for name, mask in self.masks.items():
            gradient = live[name].grad
            if gradient is not None:
                gradient.mul_(mask)  # with no gradient and no decay Adam leaves zeros exactly where they are
        torch.nn.utils.clip_grad_norm_(live.values(), 1.0)
        optimizer.step()


def _with_variants(
    samples: Mapping[str, Tensor], augmenters: Mapping[str, Augmenter | None], seed: int
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    if not any(augmenters.values()):
        return dict(samples)
    found = {}
    for name, x in samples.items():
        change = augmenters.get(name)
        more = [x if change is None else change(x, generator) for _ in range(VARIANTS)]
        found[name] = torch.cat([x, *more])
    return found


def _rate(progress: float) -> float:
    """From 0 up to 1 in the first 5%, then down again as a cosine."""
    if progress < WARM_UP:
        return (progress + 1e-3) / (WARM_UP + 1e-3)
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (progress - WARM_UP) / (1 - WARM_UP)))
