"""Stages over pairs files: split into parts, worked on by processes or a Ray cluster, resumed after a kill."""
