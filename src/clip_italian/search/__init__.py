"""Search over pictures with a trained model."""
