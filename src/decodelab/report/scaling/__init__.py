"""Quality against compute, from stored samples: on the terminal, as a picture, as a page."""
