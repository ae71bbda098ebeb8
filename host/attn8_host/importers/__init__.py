"""Models of other libraries become float model files (docs/import.md).

A front end (torch, onnx) says what each operation computes, as a graph. What that is, is recognized
by evaluating it (recognize), so that decompositions need no list; the graph becomes layers (lower),
and these must compute what the original does (check).
"""
