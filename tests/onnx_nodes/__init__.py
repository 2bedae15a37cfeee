"""ONNX's own backend node tests, compiled for this machine."""
