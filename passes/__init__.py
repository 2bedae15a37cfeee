"""Importable as ``edgesparse.passes`` only (see edgesparse/ and setup.py)."""

if __name__ != "edgesparse.passes":
    raise ImportError("import edgesparse.passes instead of passes")
