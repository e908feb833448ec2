"""Where the helpers of the tests are, for processes that tests start: those get it as a part of their path."""

from pathlib import Path

HELPERS = Path(__file__).parent
