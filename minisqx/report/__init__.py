"""What came out of a training run, as one HTML file that needs nothing else."""
