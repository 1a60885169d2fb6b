"""The dual encoder, the two packaged encoders behind `mini`, and their conversion."""
