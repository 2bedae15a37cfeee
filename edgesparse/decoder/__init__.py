"""Language models: decoders with a cache of keys and values, from a checkpoint or ONNX to a bundle that generates.

    checkpoint -> Decoder -> ONNX          edgesparse import-llm
    ONNX -> Decoder (+ rules) -> bundle    edgesparse calibrate-activations, compile, generate, evaluate

`model.Decoder` is what every file here takes or gives: the network as a list of blocks, its weights as arrays.
"""
