"""The primitive, the loop and what they are made of."""
