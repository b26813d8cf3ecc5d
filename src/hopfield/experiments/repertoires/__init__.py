"""The table of immune repertoires: Hopfield pooling and the methods that the paper compares it with."""
