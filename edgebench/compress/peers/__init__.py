"""What one would otherwise call directly, with its own defaults: to be held against ours in one run."""
