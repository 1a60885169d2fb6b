"""Evaluation of models: retrieval in both directions, zero-shot classification, probes, reports."""
