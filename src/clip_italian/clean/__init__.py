"""Filters that leave out captions and pictures which training should not see."""
