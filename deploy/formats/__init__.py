"""Formats that runtimes without Keras load: SavedModel, ONNX, LiteRT."""
