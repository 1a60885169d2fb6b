"""Probes: what a model tells apart in drawings made for it, and whom it associates with what."""
