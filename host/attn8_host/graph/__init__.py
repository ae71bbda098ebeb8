"""Graphs over the tokens' embeddings, for masks that follow them. Needs the extra `graph`."""
