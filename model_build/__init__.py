"""Builds the model: photographs in class folders in, `model.onnx` and its manifest out."""
