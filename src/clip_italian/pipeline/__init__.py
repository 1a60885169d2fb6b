"""Stages over pairs files: divided into parts, run in processes or on a Ray cluster, resumed after a kill."""
