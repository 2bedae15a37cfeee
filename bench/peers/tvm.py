"""TVM's relax with its default schedules for this CPU, untuned: the tuner of this wheel crashes. Dense, and slow."""

from __future__ import annotations

from collections.abc import Sequence

from bench.engine import Array, Network

REQUIREMENTS = ("apache-tvm==0.27.0.post1", "onnx>=1.20", "numpy")


def prepare(network: Network) -> Tvm:
    return Tvm(network)


class Tvm:
    def __init__(self, network: Network) -> None:
        import onnx
        import tvm
        from tvm import relax
        from tvm.relax.frontend.onnx import from_onnx

        cpu = tvm.get_global_func("target.llvm_get_system_cpu")()
        target = tvm.target.Target({"kind": "llvm", "mcpu": cpu, "num-cores": network.threads})
        # fused first: the default pipeline of `compile` leaves elementwise operators apart
        module = relax.get_pipeline("zero")(from_onnx(onnx.load(network.onnx), keep_params_in_input=False))
        self._main = relax.VirtualMachine(tvm.compile(module, target=target), tvm.cpu())["main"]
        self._tensor = tvm.runtime.tensor
        self._count = len(network.outputs)
        self.version = f"{tvm.__version__} untuned"

    def feed(self, inputs: Sequence[Array]) -> None:
        self._inputs = [self._tensor(x) for x in inputs]

    def run(self) -> None:
        self._results = self._main(*self._inputs)

    def outputs(self) -> list[Array]:
        several = self._count > 1
        return [y.numpy() for y in (self._results if several else [self._results])]
