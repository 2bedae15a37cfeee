"""ONNX to .tflite without TensorFlow. Needs ai-edge-litert and onnx, which only the environment of that peer has."""
