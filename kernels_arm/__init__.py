"""Importable as ``edgesparse.kernels_arm`` only (see edgesparse/ and setup.py)."""

if __name__ != "edgesparse.kernels_arm":
    raise ImportError("import edgesparse.kernels_arm instead of kernels_arm")
