"""Integer arithmetic, number formats and scales: what every layer and core is made of."""
