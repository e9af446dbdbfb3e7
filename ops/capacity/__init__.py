"""What labelling costs, and how it scales."""
