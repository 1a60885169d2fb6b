"""The card of a data set: counts over its pairs files, as Markdown, charts and sample pictures."""
