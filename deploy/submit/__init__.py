"""Submitting jobs: the job spec, and a file a platform."""
