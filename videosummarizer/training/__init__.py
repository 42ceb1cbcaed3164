"""Training a network: its layers, optimisation and validation; checkpoints, resuming, and several devices."""
