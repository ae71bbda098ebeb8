"""What `attn8 watch` shows: results of a board as they come, on a page or in the terminal."""
