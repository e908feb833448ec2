"""What all families share: backbone, masked LM, text classifier, and what one asks of them."""
