"""What every folder uses: the one error, quiet libraries, progress bars, batches of texts. Imports nothing else of ours."""
