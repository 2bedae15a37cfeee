"""Importable as ``edgesparse.devices`` only (see edgesparse/ and setup.py)."""

if __name__ != "edgesparse.devices":
    raise ImportError("import edgesparse.devices instead of devices")
