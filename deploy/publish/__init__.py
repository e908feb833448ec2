"""Publishing a preset with a model card that is filled from its run."""
