"""Many trainings that differ in a few options, and what came out of them."""
