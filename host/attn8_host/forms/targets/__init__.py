"""What each form of kernels in machine code runs on, one module a form: its instruction set, the
boards that can run it, and the kernels of its package on the board.
"""
