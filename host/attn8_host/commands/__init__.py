"""The commands: `attn8 NAME` is the module NAME of this package, and nothing else names it.

A command's module has its options, what runs it, the tables that it shows, and COMMAND, which says
so (see parser.Command). A package is a command with subcommands, its modules. What needs NumPy,
matplotlib or a board is imported by the function that uses it: --help is quick.
"""
