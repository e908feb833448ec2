"""Fine-tuning: labelled texts, their rows, metrics, and the run over them."""
