"""No pipeline: it holds none of its own name."""
