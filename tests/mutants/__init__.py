"""Mutation testing: `make mutants` changes the code one place at a time and expects that a test fails."""
