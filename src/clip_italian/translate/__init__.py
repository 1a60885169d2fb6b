"""Captions from one language to another: engines, the cache of what they answered, and the run over a pairs file."""
