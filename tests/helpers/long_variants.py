"""The long variants of tests, which CLOZEKIT_FULL=1 runs, and CLOZEKIT_PARITY=full for tests/parity."""

import os

FULL = os.environ.get("CLOZEKIT_FULL") == "1"
PARITY_FULL = os.environ.get("CLOZEKIT_PARITY") == "full"
# Families whose layers differ: RoBERTa's and XLM-RoBERTa's are BERT's.
DISTINCT = ("bert", "roberta", "albert", "xlm_roberta") if FULL else ("bert", "albert")
