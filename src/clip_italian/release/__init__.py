"""A model made ready for others: its card, and its way to the Hub."""
