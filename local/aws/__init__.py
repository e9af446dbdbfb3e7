"""AWS on this machine: moto on loopback, the stack deployed to it, queues polled as Lambda does."""
