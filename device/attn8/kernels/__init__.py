# The viper code of the package; what comes in several forms lies in forms/viper. None of it is
# forgotten: a chip keeps machine code until its next soft reset, and has more of it with each
# import. A kernel gets pointers and trusts them: whoever calls one has checked every length. It
# allocates nothing.
#
# Three rules make one source right on a chip (32-bit words) and on the unix port (64-bit words):
# - no intermediate leaves int32, or only where a comment says that the wrap is harmless;
# - operands are offset to 0..255 before they are multiplied, so that loads need no sign;
# - a signed word is read as `(p[i] ^ sign) - sign`, sign being 1 << 31 (shifted at run time, as a
#   literal beyond 2**30 is an object): the unix port's ptr32 loads are zero-extended, and this
#   extends the sign there and changes nothing on a chip.
#
# Only the first two locals of a viper function live in registers (parameters count first). So a
# kernel starts with its streaming pointer and its accumulator: `acc` is always passed as 0.
