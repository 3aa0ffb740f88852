"""From a checkpoint and an image to a prediction: `model` is the interface, `bench` measures its speed."""
