"""From an image file, a picture or an array of any kind to the uint8 pixels that a network takes: `load.load_image`."""
