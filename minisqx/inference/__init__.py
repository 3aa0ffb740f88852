"""From a checkpoint and an image to classes: `model` for people, `bench` for the time that it takes."""
