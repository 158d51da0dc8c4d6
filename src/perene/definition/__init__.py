"""What a user writes: rows, labels, models with their hooks, and the settings of a project."""
