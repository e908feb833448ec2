"""Formats that runtimes without Keras load: ONNX and LiteRT."""
