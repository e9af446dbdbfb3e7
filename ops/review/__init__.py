"""`make review`: people look at pictures, and their answers become the labels."""
