"""Where to edit: causal tracing, gradient salience, and the blocks that `layer="auto"` stands for."""
