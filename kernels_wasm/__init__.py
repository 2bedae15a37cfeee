"""Importable as ``edgesparse.kernels_wasm`` only (see edgesparse/ and setup.py)."""

if __name__ != "edgesparse.kernels_wasm":
    raise ImportError("import edgesparse.kernels_wasm instead of kernels_wasm")
