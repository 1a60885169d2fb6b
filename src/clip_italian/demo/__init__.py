"""The demo: the whole job on packaged data, and its report."""
