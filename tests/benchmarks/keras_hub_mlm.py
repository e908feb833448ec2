"""Pretraining as KerasHub's documents show it, for the benchmark of the time to a loss: raw strings, its preprocessor, fit.

    python tests/benchmarks/keras_hub_mlm.py TEXTS.jsonl PRESET SETTINGS.json

Prints one line of JSON at last. Source of the way: https://keras.io/keras_hub/api/models/bert/bert_masked_lm/
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import keras_hub
import tensorflow as tf


class WarmupAndDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Up in a line, and down to zero in a line."""

    def __init__(self, peak: float, warmup: float, steps: int) -> None:
        self.peak, self.warmup, self.steps = peak, warmup, steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        done = tf.cast(step, tf.float32) + 1
        return self.peak * tf.minimum(done / self.warmup, (self.steps - done) / (self.steps - self.warmup))

    def get_config(self) -> dict[str, float]:
        return {"peak": self.peak, "warmup": self.warmup, "steps": self.steps}


class Marks(keras.callbacks.Callback):
    """CPU seconds of the process after so many steps."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every, self.seconds = every, {}

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        if (batch + 1) % self.every == 0:
            self.seconds[batch + 1] = time.process_time()


def main() -> None:
    texts_path, preset, settings_path = sys.argv[1:]
    settings = json.loads(Path(settings_path).read_text(encoding="utf-8"))
    keras.utils.set_random_seed(settings["seed"])
    texts = [json.loads(line)["text"] for line in Path(texts_path).read_text(encoding="utf-8").splitlines()]
    vocabulary = str(Path(settings["start"]) / "vocab.txt")
    tokenizer = keras_hub.models.BertTokenizer(vocabulary=vocabulary, lowercase=True)
    preprocessor = keras_hub.models.BertMaskedLMPreprocessor(
        tokenizer,
        sequence_length=settings["length"],
        mask_selection_rate=settings["mask_rate"],
        mask_selection_length=round(settings["mask_rate"] * settings["length"] * 1.3),
    )
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=tokenizer.vocabulary_size(),
        num_layers=settings["num_hidden_layers"],
        num_heads=settings["num_attention_heads"],
        hidden_dim=settings["hidden_size"],
        intermediate_dim=4 * settings["hidden_size"],
        max_sequence_length=settings["length"],
    )
    model = keras_hub.models.BertMaskedLM(backbone, preprocessor=preprocessor)
    steps = settings["steps"]
    rate = WarmupAndDecay(settings["learning_rate"], settings["warmup_rate"] * steps, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.AdamW(rate), loss=loss, jit_compile=True)
    rows = tf.data.Dataset.from_tensor_slices(texts).shuffle(len(texts), seed=settings["seed"]).repeat()
    marks = Marks(settings["mark_every"])
    model.fit(rows.batch(settings["batch"]).take(steps), epochs=1, verbose=0, callbacks=[marks])
    model.save_to_preset(preset)
    print(json.dumps({"marks": marks.seconds}))


if __name__ == "__main__":
    main()
