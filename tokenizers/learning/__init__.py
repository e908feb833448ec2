"""Learning vocabularies from word counts, the same ones in every run, and the report on what was learned."""
