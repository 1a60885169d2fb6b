"""Filters for captions and pictures that training should not see."""
