"""The card of a data set: what its pairs files hold, in Markdown and pictures."""
