"""What the compiler made of the inner loops of spmm: registers that are spilled cost more than they save.

Only instruction sets of x86 and arm64 are here: WebAssembly has no registers, its engine allocates them.
"""

from __future__ import annotations

import re

import pytest

from bench.assembly import TRIPLES, Loop, hot_loops, loops
from edgesparse.kernels import ISAS, table
from edgesparse.types import Kernel

TILES = [k for k in table() if k.op == "spmm" and ISAS[k.isa].architecture in TRIPLES and ISAS[k.isa].width > 1]
NEON = [k for k in TILES if ISAS[k.isa].architecture == "aarch64"]


def _hot_loops(kernel: Kernel) -> list[Loop]:
    found = hot_loops(kernel)
    tiles = kernel.tiles
    tile = tiles["MR"] * tiles["NV"] if "NV" in tiles else tiles["MR"] * tiles["NP"] // ISAS[kernel.isa].width
    pixel = tiles["MR"] // 4  # the last pixel of a row, with AVX-512 also the last four, may go along with a tile
    count = found[0].multiply_adds
    whole = any(count % (tile + pixels * pixel) == 0 for pixels in (0, 1, 4))
    assert whole, f"{kernel.symbol}: {count} multiply-adds in the hot loop, the tile has {tile}"
    return found


@pytest.mark.parametrize("kernel", TILES, ids=lambda k: k.symbol)
def test_no_vector_is_spilled_in_the_hot_loop(kernel: Kernel) -> None:
    spills = [text for loop in _hot_loops(kernel) for text in loop.spills]
    if spills:
        lines = "\n    ".join(spills)
        hint = "make the tile smaller (the line `// tiles:` of its source) or keep fewer values at a time"
        pytest.fail(f"{kernel.symbol} spills inside of its hot loop:\n    {lines}\n{hint}", pytrace=False)


@pytest.mark.parametrize("kernel", [k for k in NEON if k.tiles["MR"] % 4 == 0], ids=lambda k: k.symbol)
def test_weights_stay_in_lanes_on_neon(kernel: Kernel) -> None:
    """Weights are loaded side by side, each is multiplied out of its lane: ``fmla v.4s, v.4s, v.s[i]``; or halves."""
    product = r"fmla v\d+\.4s, v\d+\.4s, v\d+\.s\[[0-3]\]"
    if kernel.isa == "neon_fp16":
        product = r"fmla v\d+\.8h, v\d+\.8h, v\d+\.h\[[0-7]\]"
    tile, pixel = kernel.tiles["MR"] * kernel.tiles["NV"], kernel.tiles["MR"] // 4
    for loop in _hot_loops(kernel):
        products = [text for text in loop.instructions if text.startswith("fmla")]
        others = [text for text in products if not re.fullmatch(product, text)]
        assert products and len(others) * (tile + pixel) in (0, len(products) * pixel)


@pytest.mark.parametrize("kernel", [k for k in NEON if k.isa == "neon_fp16"], ids=lambda k: k.symbol)
def test_halves_are_not_converted_in_the_hot_loop(kernel: Kernel) -> None:
    for loop in _hot_loops(kernel):
        assert not [text for text in loop.instructions if text.startswith(("fcvt", "scvtf"))]


def test_every_instruction_set_with_registers_is_looked_at() -> None:
    wide = {name for name, isa in ISAS.items() if isa.architecture in TRIPLES and isa.width > 1}
    bytes_only = {"avx512vnni", "neon_dotprod"}
    assert {k.isa for k in TILES} == wide - bytes_only


ARM = """
f:                                      // @f
	add	x29, sp, #16
.LBB0_1:                                // loop
	ldr	q1, [x1], #16
.LBB0_2:                                //   inner
	ldr	q0, [{}, #32]                   // 16-byte Folded Reload
	ldr	x3, [sp]
	fmla	v2.4s, v0.4s, v1.s[0]
	subs	x0, x0, #1
	b.ne	.LBB0_2
	cbnz	x2, .LBB0_1
	ret
"""


@pytest.mark.parametrize(("base", "spilled"), [("sp", True), ("x29", True), ("x2", False)])
def test_a_spill_is_found(base: str, spilled: bool) -> None:
    (loop,) = loops(ARM.format(base), "aarch64")
    assert (loop.multiply_adds, len(loop.instructions)) == (1, 5)
    assert loop.spills == ((f"ldr q0, [{base}, #32]",) if spilled else ())


X86 = """
f:
	{}
.LBB0_1:                                # comment
	vmovups	-64(%rbp), %ymm0            # 32-byte Reload
	movq	8(%rsp), %rax
	vfmadd231ps	(%rsp), %ymm1, %ymm0
	jne	.LBB0_1
	retq
"""


@pytest.mark.parametrize("framed", [True, False])
def test_rbp_is_the_stack_only_when_it_is_the_frame_pointer(framed: bool) -> None:
    (loop,) = loops(X86.format("movq	%rsp, %rbp" if framed else "pushq	%rbp"), "x86_64")
    reload, product = "vmovups -64(%rbp), %ymm0", "vfmadd231ps (%rsp), %ymm1, %ymm0"
    assert loop.spills == ((reload, product) if framed else (product,))
