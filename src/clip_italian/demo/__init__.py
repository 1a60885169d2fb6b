"""The main job on packaged data, and its report."""
