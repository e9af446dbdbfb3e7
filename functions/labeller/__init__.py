"""The core that all Lambda functions share: events, pictures, the network, results and their storage."""
