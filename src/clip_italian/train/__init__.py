"""Training: recipe → pairs → features or pixels → towers → the best weights."""
