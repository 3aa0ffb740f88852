"""Reading images: a file, a PIL image or an array becomes the uint8 pixels that a network takes (`load.load_image`)."""
