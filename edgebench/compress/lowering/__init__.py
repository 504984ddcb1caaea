"""From a network to the file that a kind of runtime wants."""
