"""Everything the Lambda functions share: pure rules, and `storage`, the one module that calls AWS."""
