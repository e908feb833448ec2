"""Corpora to TFRecord datasets on Apache Beam; `records` and `manifest` are what other folders may import."""
