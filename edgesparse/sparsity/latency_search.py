"""Looks for the plan of least error that meets a target, on a clock that predictions are only roughly right about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgesparse.errors import InputError
from edgesparse.sparsity.latency_plan import LatencyPlan, PlannedLayer
from edgesparse.sparsity.layer_options import Progress
from edgesparse.sparsity.least_error import Option, least_error, undominated
from edgesparse.sparsity.recipe import LayerRecipe, Recipe

ROUNDS = 4  # plans that are run beside the dense network and the fastest one
EARLY, LATE = 0.05, 0.02  # how far from the target a plan may end: late is worse than early
UNIFORM, SIMILAR = 3, 1.3  # so many runs a pattern of uniform plans, predicted to take at most so many times a plan's
CLOSE = 0.05  # a plan that ends further away is remarked upon

Clock = Callable[[Mapping[str, Option]], float]
"""Weight -> its option; gives the milliseconds of the whole network."""


@dataclass(frozen=True, slots=True)
class _Run:
    """A choice for every layer, what its times and the fixed one add up to, and what the network took."""

    chosen: tuple[Option, ...]
    sum_ms: float
    ms: float

    @property
    def error(self) -> float:
        return sum(option.error for option in self.chosen)


@dataclass(frozen=True, slots=True)
class Search:
    """Finds the plan: ``options`` by weight, dense first; ``fixed_us`` of all else; ``names`` of the layers."""

    model: str
    device: str
    fixed_us: float
    options: Mapping[str, tuple[Option, ...]]
    names: Mapping[str, str]

    def plan(
        self, clock: Clock, predicted: Clock, dense_ms: float, target_ms: float | None, speedup: float | None,
        measured: bool, on_progress: Progress | None = None,
    ) -> LatencyPlan:  # fmt: skip
        """The plan of least error whose time by ``clock`` meets the target, see `allocate`."""
        if target_ms is None:
            assert speedup is not None
            target_ms = dense_ms / speedup
        dense = tuple(found[0] for found in self.options.values())
        runs = [_Run(dense, self._sum_ms(dense), dense_ms)]

        def run(chosen: tuple[Option, ...]) -> _Run:
            if on_progress:
                what = "running a plan" if measured else "predicting a plan"
                on_progress(len(runs) - 1, max(ROUNDS + UNIFORM, len(runs)) + 1, what)
            runs.append(_Run(chosen, self._sum_ms(chosen), clock(self._by_name(chosen))))
            return runs[-1]

        best, remark = runs[0], ""
        if target_ms >= dense_ms:
            remark = f"the dense network takes {dense_ms:.4g} ms already: nothing has to be pruned"
        else:
            fastest = run(tuple(undominated(found)[-1] for found in self.options.values()))
            late = LATE if measured else 0.0
            if fastest.ms > target_ms * (1 + late):
                raise self._unreachable(fastest, dense_ms, target_ms, speedup, measured)
            self._approach(runs, run, target_ms, late)
            best = _best(runs[1:], target_ms, late, measured)
            if measured:
                best = self._against_uniform(best, run, target_ms * (1 + late))
            if abs(best.ms / target_ms - 1) > CLOSE:
                remark = f"{best.ms:.4g} ms is the closest to {target_ms:.4g} ms that was found: the levels are coarse"
        estimate = predicted(self._by_name(best.chosen)) if measured else best.ms
        return self._planned(best, dense, estimate, dense_ms, target_ms, measured, remark)

    def _approach(
        self, runs: list[_Run], run: Callable[[tuple[Option, ...]], _Run], target_ms: float, late: float
    ) -> None:
        """Choose and run until the target is met: between the closest runs on both its sides, time is taken for linear
        in the sum of the layers' times.
        """
        aim = target_ms * (1 - (EARLY - late) / 2) if late else target_ms
        for _ in range(ROUNDS):
            budget = _interpolated(runs, aim) - self.fixed_us / 1000
            chosen = least_error(list(self.options.values()), budget * 1000)
            if chosen is None or any(chosen == one.chosen for one in runs):
                return
            if target_ms * (1 - EARLY) <= run(chosen).ms <= target_ms * (1 + late):
                return

    def _against_uniform(self, best: _Run, run: Callable[[tuple[Option, ...]], _Run], limit_ms: float) -> _Run:
        """Layers that run alone may mislead. The same sparsity and pattern in all layers is run where it would lose
        less than ``best`` and may be in time after all: of each pattern's levels the middle one, and so on on the side
        that this leaves.
        """
        names = sorted({(o.pattern, o.sparsity) for found in self.options.values() for o in found if o.sparsity})
        for pattern in dict.fromkeys(pattern for pattern, _ in names):
            plans = [self._everywhere(name) for name in reversed(names) if name[0] == pattern]  # fast ones first
            for _ in range(UNIFORM):
                plans = [p for p in plans if sum(o.error for o in p) < best.error]
                plans = [p for p in plans if self._sum_ms(p) < SIMILAR * best.sum_ms]
                if not plans:
                    break
                middle = len(plans) // 2
                found = run(plans[middle])
                if found.ms <= limit_ms:
                    best, plans = found, plans[middle + 1 :]
                else:
                    plans = plans[:middle]
        return best

    def _everywhere(self, name: tuple[str, float]) -> tuple[Option, ...]:
        """That pattern and sparsity in all layers that have it, the others dense."""
        found = self.options.values()
        return tuple(next((o for o in each if (o.pattern, o.sparsity) == name), each[0]) for each in found)

    def _sum_ms(self, chosen: Sequence[Option]) -> float:
        return (self.fixed_us + sum(option.us for option in chosen)) / 1000

    def _by_name(self, chosen: Sequence[Option]) -> dict[str, Option]:
        return dict(zip(self.options, chosen, strict=True))

    def _unreachable(
        self, fastest: _Run, dense_ms: float, target_ms: float, speedup: float | None, measured: bool
    ) -> InputError:
        wanted = f"{target_ms:.4g} ms" if speedup is None else f"a speedup of {speedup:g} ({target_ms:.4g} ms)"
        kinds = Counter((o.pattern, o.sparsity) for o in fastest.chosen)
        used = ", ".join(
            f"{pattern} at {sparsity:g} in {count} layers" if sparsity else f"{count} layers dense"
            for (pattern, sparsity), count in kinds.most_common()
        )
        times = dense_ms / fastest.ms
        slack_ms, slack_times = fastest.ms * 1.05, times / 1.05
        more = f"--target-latency {slack_ms:.3g}ms" if speedup is None else f"--speedup {slack_times:.2f}"
        # predictions may be off by a factor: what they say of the parts of the whole holds
        fixed_ms = self.fixed_us / 1000 * min(fastest.ms / fastest.sum_ms, 1.0)
        ask = f"ask for {more}, " if slack_times > 1 else ""
        return InputError(
            f"{wanted} cannot be reached on {self.device}: the fastest there is takes {fastest.ms:.4g} ms "
            f"({'measured' if measured else 'estimated'}; {times:.2f} times as fast as dense, {dense_ms:.4g} ms) with "
            f"{used}; layers that are not pruned take about {fixed_ms:.3g} ms of it (estimated)",
            where=self.model, hint=f"{ask}allow other patterns, or prune more layers: --include NAME",
        )  # fmt: skip

    def _planned(
        self, best: _Run, dense: Sequence[Option], predicted_ms: float, dense_ms: float, target_ms: float,
        measured: bool, remark: str,
    ) -> LatencyPlan:  # fmt: skip
        layers = tuple(
            PlannedLayer(name, self.names[name], o.pattern, o.sparsity, o.us, before.us, o.error)
            for (name, o), before in zip(self._by_name(best.chosen).items(), dense, strict=True)
        )
        how = f"{best.ms:.4g} ms {'measured' if measured else 'estimated'} on {self.device}, dense {dense_ms:.4g} ms"
        recipe = Recipe(
            schema_version=1,
            note=f"least error for {target_ms:.4g} ms: {how}",
            layers={x.layer: LayerRecipe(pattern=x.pattern, sparsity=x.sparsity) for x in layers if x.sparsity},
        )
        return LatencyPlan(
            self.device, target_ms, recipe, layers, predicted_ms, best.ms if measured else None, dense_ms,
            self.fixed_us / 1000, best.error, remark,
        )  # fmt: skip


def _interpolated(runs: Sequence[_Run], aim_ms: float) -> float:
    """The sum of times to ask for: where a line between the runs around ``aim_ms`` reaches it."""
    early = [run for run in runs if run.ms <= aim_ms]
    if not early:
        return min(run.sum_ms for run in runs)
    one = max(early, key=lambda run: run.sum_ms)
    late = [run for run in runs if run.ms > aim_ms and run.sum_ms > one.sum_ms]
    if not late:
        return one.sum_ms
    other = min(late, key=lambda run: run.sum_ms)
    return one.sum_ms + (other.sum_ms - one.sum_ms) * (aim_ms - one.ms) / (other.ms - one.ms)


def _best(runs: Sequence[_Run], target_ms: float, late: float, measured: bool) -> _Run:
    """Of those in time the one with the least error; of measured ones, if these are far too early, the closest."""
    in_time = [run for run in runs if run.ms <= target_ms * (1 + late)]
    best = min(in_time, key=lambda run: (run.error, run.ms))
    if measured and best.ms < target_ms * (1 - EARLY):
        return min(runs, key=lambda run: abs(run.ms - target_ms))
    return best
