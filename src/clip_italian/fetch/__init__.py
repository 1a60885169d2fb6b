"""Download pictures into WebDataset shards."""
