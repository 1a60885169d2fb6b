"""Measures of a model: retrieval in both directions, zero-shot classification, the report."""
