"""AWS on this machine: moto on loopback, the deployed template, a poller like Lambda's, handlers in processes."""
