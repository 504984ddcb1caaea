"""Tables: `table.build` turns a run and its results into one, and each other file turns that into a text."""
