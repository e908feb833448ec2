"""The random states of the layers that drop values, which the step of training decides."""

import keras


def dropout_states(model: keras.layers.Layer) -> list[keras.Variable]:
    """The random state of every layer inside a model, or a block, that has one, in a fixed order."""
    # Keras has no public way to all layers inside a model.
    layers = model._flatten_layers(include_self=False, recursive=True)
    generators = [layer.seed_generator for layer in layers if getattr(layer, "seed_generator", None) is not None]
    # A layer that is reachable twice is listed twice.
    return list({id(generator): generator.state for generator in generators}.values())
