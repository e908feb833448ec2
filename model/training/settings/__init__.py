"""The settings of pretraining, fine-tuning and evaluation, checked when they are made. No TensorFlow."""
