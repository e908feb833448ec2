"""What every room of the models uses: hashes as random numbers, sums along rows, tracing, prefetching."""
