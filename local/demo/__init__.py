"""The whole system on this machine, once: model, uploads, labels, report."""
