"""Taking out of a network: channels, heads, single weights, ranks; how much each matters, and the search for a budget."""
