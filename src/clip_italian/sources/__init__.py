"""Sources of image-caption pairs, one module each; every one ends in a pairs file."""
