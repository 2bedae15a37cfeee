"""Importable as ``edgesparse.kernels_common`` only (see edgesparse/ and setup.py)."""

if __name__ != "edgesparse.kernels_common":
    raise ImportError("import edgesparse.kernels_common instead of kernels_common")
