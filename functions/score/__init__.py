"""The score function: every night, the accuracy of the deployed model on the test set."""
