"""Importable as ``edgesparse.kernels_x86`` only (see edgesparse/ and setup.py)."""

if __name__ != "edgesparse.kernels_x86":
    raise ImportError("import edgesparse.kernels_x86 instead of kernels_x86")
