"""Cleaning and filtering documents: texts made clean, tags that say what they are like, rules on tags."""
