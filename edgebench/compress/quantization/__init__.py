"""Int8 and half precision: what is done to the network itself, and how its ranges are found."""
