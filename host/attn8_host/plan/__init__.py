"""`attn8 plan`: what a model takes on a board, before there is one."""
