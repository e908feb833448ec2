"""The examples of a fine-tuning: their files read, their rows, and how predictions for them are measured."""
