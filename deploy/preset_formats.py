"""The layouts that `convert` writes, by name; it loads nothing, so that `--help` answers at once."""

# Name -> what it is.
PRESET_FORMATS = {
    "clozekit": "a preset of ours",
    "keras_hub": "the same, refused where KerasHub would compute something else",
    "huggingface": "config.json and model.safetensors for transformers",
    "saved_model": "TensorFlow's, which takes ids, and strings where the tokenizer can be in a graph (albert, xlm_roberta;"
    " bert's and roberta's run in Python)",
    "onnx": "model.onnx for ONNX Runtime and Optimum, which takes ids",
    "litert": "model.tflite for LiteRT (TensorFlow Lite), which takes ids",
}
