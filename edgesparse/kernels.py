"""The kernel table, read out of the C sources: two header comments and the signature are a row.

``// edgesparse-kernel: op=spmm dtype=f32 isa=neon`` and, for kernels with a register tile,
``// tiles: MR=8 NV=3 | MR=4 NV=4``. ``isa=any`` stands for every ISA below that has no base; several are
separated by commas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgesparse.types import Kernel

ROOT = Path(__file__).parent
COMMON = ROOT / "kernels_common"


@dataclass(frozen=True, slots=True)
class Isa:
    """One way to compile kernels: ``width`` floats in a vector (of those that its own kernels compute with).

    A stem that it has no kernel of is taken from ``base``, the instruction set that it extends.
    """

    name: str
    architecture: str
    folder: str
    width: int
    flags: tuple[str, ...]
    base: str = ""


_WITH_VNNI = "-mcpu=x86_64_v4+avx512vnni"
# Fused multiply-add: -ffp-contract=fast lets a * b + c become one instruction where there is one.
ISAS: Mapping[str, Isa] = {
    isa.name: isa
    for isa in (
        Isa("avx512", "x86_64", "kernels_x86", 16, ("-mcpu=x86_64_v4", "-mprefer-vector-width=512")),
        # Ice Lake and Zen 4 on: 4 products of bytes and their sum in each 32-bit lane, for weights of 8 bits or fewer.
        Isa("avx512vnni", "x86_64", "kernels_x86", 16, (_WITH_VNNI, "-mprefer-vector-width=512"), base="avx512"),
        Isa("avx2", "x86_64", "kernels_x86", 8, ("-mcpu=x86_64_v3",)),
        Isa("sse2", "x86_64", "kernels_x86", 4, ("-mcpu=x86_64",)),
        # One float at a time: no target uses it, it is what a new architecture starts from and tests compare with.
        Isa("scalar", "x86_64", "kernels_common", 1, ("-mcpu=x86_64", "-fno-vectorize", "-fno-slp-vectorize")),
        # Cortex-A53 is plain ARMv8.0; for its schedule see `flags`.
        Isa("neon", "aarch64", "kernels_arm", 4, ("-mcpu=cortex_a53",)),
        # FEAT_FP16 of ARMv8.2: arithmetic on vectors of 8 halves. Only f16 models carry it, see `precision`.
        Isa("neon_fp16", "aarch64", "kernels_arm", 8, ("-mcpu=cortex_a55",), base="neon"),
        # FEAT_DotProd of ARMv8.2: the same sums of 4 products as avx512vnni.
        Isa("neon_dotprod", "aarch64", "kernels_arm", 4, ("-mcpu=cortex_a53+dotprod",), base="neon"),
        Isa("simd128", "wasm32", "kernels_wasm", 4, ("-msimd128",)),
        Isa("relaxed", "wasm32", "kernels_wasm", 4, ("-msimd128", "-mrelaxed-simd")),
    )
}

# Scheduling for an in-order core costs big cores nothing, but for one tile: there it breaks up pairs of loads.
# Estimates of llvm-mca, multiply-adds a cycle: 4x6 0.82 -> 0.91 on the Cortex-A55, 2.00 on the Neoverse N1 as before;
# 8x3 0.95 -> 0.98 and 2.00 -> 1.86.
_FOR_A55 = ("-Xclang", "-tune-cpu", "-Xclang", "cortex-a55")
_NOT_FOR_A55 = frozenset({"es_spmm_f32_8x3__neon"})

# es_<op>_<dtype>[_<tile>]__<isa>
# qc8, qb4: weights of 8 bits, a scale an output (channel), and of 4 bits, a scale a block; activations are f32.
_DTYPES = "f32|f16|qc8|qb4|i64|i32|i8|u8|bool|b1|b2|b4|b8"
NAME = re.compile(rf"^es_[a-z][a-z0-9_]*_({_DTYPES})(_\d+(x\d+)?)?__({'|'.join(ISAS)})$")

_HEADER = re.compile(r"^// edgesparse-kernel: op=(\w+) dtype=(\w+) isa=(\w+(?:,\w+)*)$", re.M)
_TILES = re.compile(r"^// tiles: (.+)$", re.M)
_FUNCTION = re.compile(r"^void ES_KERNEL\((\w+)\)\(([^{;]*)\)\s*\{", re.M)
_INCLUDE = re.compile(r'^#include "([\w.]+)"', re.M)


class KernelTableError(Exception):
    """A kernel source breaks the rules of the table; says which file and which rule."""


def included_text(source: Path) -> str:
    """``source`` and, in order, every header it includes, as one text."""
    seen: list[Path] = []

    def visit(path: Path) -> None:
        if path in seen:
            return
        seen.append(path)
        for name in _INCLUDE.findall(path.read_text()):
            header = path.parent / name if (path.parent / name).exists() else COMMON / name
            visit(header)

    visit(source)
    return "\n".join(p.read_text() for p in seen)


def parameters(source: Path) -> dict[str, tuple[tuple[str, str], ...]]:
    """C parameters of every kernel function of ``source`` by stem: ((type, name), ...)."""
    found = {}
    for stem, text in _FUNCTION.findall(included_text(source)):
        pairs = []
        for item in " ".join(text.split()).split(","):
            match = re.fullmatch(r"(.*?[ *])(\w+)", item.strip())
            if match is None:
                raise KernelTableError(f"{source.name}: cannot read parameter {item!r} of {stem}")
            pairs.append((match[1].strip(), match[2]))
        found[stem] = tuple(pairs)
    return found


def _tiles(text: str) -> list[dict[str, int]]:
    match = _TILES.search(text)
    if match is None:
        return [{}]
    return [{k: int(v) for k, v in (p.split("=") for p in row.split())} for row in match[1].split("|")]


@cache
def table() -> tuple[Kernel, ...]:
    """Every kernel of every ISA.

    Raises:
        KernelTableError: a source without header, with an unknown ISA or a malformed signature.
    """
    rows = []
    for source in sorted(ROOT.glob("kernels_*/*.c")):
        text = source.read_text()
        header = _HEADER.search(text)
        if header is None:
            raise KernelTableError(f"{source.name}: no `// edgesparse-kernel: op= dtype= isa=` line")
        op, dtype, isas = header.groups()
        functions = parameters(source)
        if f"{op}_{dtype}" not in functions:
            raise KernelTableError(f"{source.name}: no `void ES_KERNEL({op}_{dtype})(...) {{`")
        everywhere = [name for name, isa in ISAS.items() if not isa.base]
        for name in everywhere if isas == "any" else isas.split(","):
            if name not in ISAS:
                raise KernelTableError(f"{source.name}: unknown isa {name!r}; known: {', '.join(ISAS)}")
            for tiles in _tiles(text):
                suffix = "_" + "x".join(str(v) for v in tiles.values()) if tiles else ""
                symbol = f"es_{op}_{dtype}{suffix}__{name}"
                if not NAME.match(symbol):
                    raise KernelTableError(f"{source.name}: {symbol} does not fit the grammar {NAME.pattern}")
                rows.append(Kernel(symbol, f"{op}_{dtype}", op, dtype, name, source, tiles, functions[f"{op}_{dtype}"]))
    return tuple(rows)


@cache
def _by_stem() -> Mapping[tuple[str, str], tuple[Kernel, ...]]:
    found: dict[tuple[str, str], list[Kernel]] = {}
    for kernel in table():
        found.setdefault((kernel.stem, kernel.isa), []).append(kernel)
    return {k: tuple(v) for k, v in found.items()}


def flags(kernel: Kernel) -> tuple[str, ...]:
    """What ``kernel`` is compiled with, beside what all are."""
    schedule = _FOR_A55 if kernel.isa == "neon" and kernel.symbol not in _NOT_FOR_A55 else ()
    # a model in f16 carries two instruction sets; what counts is unrolled by hand (0.1 to 0.7% more instructions)
    # unary: many functions, of which a model uses few, as fast and 0.8 kB smaller where every kB is downloaded
    in_wasm = ISAS[kernel.isa].architecture == "wasm32"
    small = kernel.dtype == "f16" and any("_Float16" in kind for kind, _ in kernel.parameters)
    size = ("-Os",) if small or (in_wasm and kernel.op == "unary") else ()
    return (*ISAS[kernel.isa].flags, *schedule, *size)


def asks_hwcap(isas: Sequence[str]) -> bool:
    """Whether an arm64 CPU has to be asked which of ``isas`` it has."""
    return any(ISAS[isa].architecture == "aarch64" and ISAS[isa].base for isa in isas)


def find(stem: str, isa: str, tiles: Mapping[str, int]) -> Kernel | None:
    """The kernel ``stem`` of ``isa``, or else of its base, whose tile has the values ``tiles``; None without any."""
    for kernel in _by_stem().get((stem, isa), ()):
        if all(kernel.tiles.get(k) == v for k, v in tiles.items()):
            return kernel
    base = ISAS[isa].base
    return find(stem, base, tiles) if base else None
