"""From results to decisions: is B faster than A, what may be shipped, when did it change. Pure over records; the verbs print."""
