"""Importable as ``edgesparse.examples`` only (see edgesparse/ and setup.py)."""

if __name__ != "edgesparse.examples":
    raise ImportError("import edgesparse.examples instead of examples")
