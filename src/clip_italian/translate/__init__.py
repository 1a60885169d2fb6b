"""Translate the captions of a pairs file: engines, a cache of translations, and rating by people."""
