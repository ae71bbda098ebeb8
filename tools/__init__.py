"""What developers run: instruction counting, model training, .mpy inspection."""
