"""What other people download."""
