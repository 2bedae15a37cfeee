"""What arm64 programs execute, counted under qemu, and what llvm-mca makes of their inner loops.

``python -m bench.arm --models mobilenet_v1 --sparsity 0,0.7,0.9 --pattern block:4x1`` counts executed instructions;
``python -m bench.arm --mca`` estimates cycles. Neither is a time: an emulator has none to offer.
"""
