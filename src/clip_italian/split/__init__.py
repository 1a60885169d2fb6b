"""Train, validation and test parts of a pairs file: who goes where, and who must go together."""
