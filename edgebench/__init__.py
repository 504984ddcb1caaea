"""edgebench: compress a network, compile it for every edge runtime, measure it on the device, compare."""
