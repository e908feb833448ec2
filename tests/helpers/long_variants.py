"""The long variants of tests, which CLOZEKIT_FULL=1 runs, and CLOZEKIT_PARITY=full for tests/parity."""

import os

from clozekit.tokenizers.common.family_names import FAMILIES

FULL = os.environ.get("CLOZEKIT_FULL") == "1"
PARITY_FULL = os.environ.get("CLOZEKIT_PARITY") == "full"
# Families whose layers differ: those of RoBERTa, XLM-RoBERTa and DistilBERT are BERT's.
DISTINCT = tuple(FAMILIES) if FULL else ("bert", "albert", "modern_bert", "deberta_v3")
