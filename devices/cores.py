"""Which core it is, by the numbers that Arm's MIDR register and /proc/cpuinfo give it.

Names and numbers: Arm's technical reference manuals, and lscpu of util-linux. Only cores of 64 bits that phones and
boards have.
"""

from __future__ import annotations

from typing import NamedTuple

ARM, NVIDIA, QUALCOMM, SAMSUNG, HISILICON = 0x41, 0x4E, 0x51, 0x53, 0x48


class Core(NamedTuple):
    """``fma_width``: f32 multiply-adds that it can start per cycle, an estimate from its number of vector units."""

    name: str
    fma_width: int


CORES = {
    (ARM, 0xD03): Core("Cortex-A53", 4), (ARM, 0xD04): Core("Cortex-A35", 2), (ARM, 0xD05): Core("Cortex-A55", 4),
    (ARM, 0xD07): Core("Cortex-A57", 4), (ARM, 0xD08): Core("Cortex-A72", 4), (ARM, 0xD09): Core("Cortex-A73", 4),
    (ARM, 0xD0A): Core("Cortex-A75", 4), (ARM, 0xD0B): Core("Cortex-A76", 8), (ARM, 0xD0C): Core("Neoverse-N1", 8),
    (ARM, 0xD0D): Core("Cortex-A77", 8), (ARM, 0xD0E): Core("Cortex-A76AE", 8), (ARM, 0xD40): Core("Neoverse-V1", 16),
    (ARM, 0xD41): Core("Cortex-A78", 8), (ARM, 0xD42): Core("Cortex-A78AE", 8), (ARM, 0xD44): Core("Cortex-X1", 16),
    (ARM, 0xD46): Core("Cortex-A510", 4), (ARM, 0xD47): Core("Cortex-A710", 8), (ARM, 0xD48): Core("Cortex-X2", 16),
    (ARM, 0xD49): Core("Neoverse-N2", 8), (ARM, 0xD4B): Core("Cortex-A78C", 8), (ARM, 0xD4C): Core("Cortex-X1C", 16),
    (ARM, 0xD4D): Core("Cortex-A715", 8), (ARM, 0xD4E): Core("Cortex-X3", 16), (ARM, 0xD4F): Core("Neoverse-V2", 16),
    (ARM, 0xD80): Core("Cortex-A520", 4), (ARM, 0xD81): Core("Cortex-A720", 8), (ARM, 0xD82): Core("Cortex-X4", 16),
    (ARM, 0xD85): Core("Cortex-X925", 24), (ARM, 0xD87): Core("Cortex-A725", 8),
    (ARM, 0xD88): Core("Cortex-A520AE", 4), (ARM, 0xD89): Core("Cortex-A720AE", 8),
    (NVIDIA, 0x004): Core("Carmel", 8), (HISILICON, 0xD40): Core("Cortex-A76", 8),
    (QUALCOMM, 0x800): Core("Kryo 2xx Gold (Cortex-A73)", 4),
    (QUALCOMM, 0x801): Core("Kryo 2xx Silver (Cortex-A53)", 4),
    (QUALCOMM, 0x802): Core("Kryo 3xx Gold (Cortex-A75)", 4),
    (QUALCOMM, 0x803): Core("Kryo 3xx Silver (Cortex-A55)", 4),
    (QUALCOMM, 0x804): Core("Kryo 4xx Gold (Cortex-A76)", 8),
    (QUALCOMM, 0x805): Core("Kryo 4xx Silver (Cortex-A55)", 4),
    (QUALCOMM, 0x001): Core("Oryon", 16), (SAMSUNG, 0x002): Core("Exynos M3", 12),
    (SAMSUNG, 0x003): Core("Exynos M4", 12), (SAMSUNG, 0x004): Core("Exynos M5", 12),
}  # fmt: skip
UNKNOWN_FMA_WIDTH = 4
"""Of a core that is not in the table: what the smallest of today have."""
