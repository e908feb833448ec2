"""A tiny grammar, for tests in which a model learns something."""

import random


def sentences(seed: int, count: int) -> list[str]:
    """Sentences of a tiny grammar, so that a model has something to learn."""
    dice = random.Random(seed)
    animals, verbs = ("cat", "dog", "bird"), {"cat": "sat on", "dog": "ran under", "bird": "flew over"}
    return [
        f"the {dice.choice(('red', 'blue', 'old'))} {animal} {verbs[animal]} the {dice.choice(('mat', 'house', 'tree'))} ."
        for animal in dice.choices(animals, k=count)
    ]
