"""Pictures behind addresses, downloaded into WebDataset shards by img2dataset."""
