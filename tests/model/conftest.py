"""Lets these tests, and those of parity, import the small families beside them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
