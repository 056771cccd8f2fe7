"""Networks, the order of training, the training loop and its checkpoints."""
