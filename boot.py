# What the board runs at power-up. Nothing here prints, waits or fails: the REPL always comes.
