"""Ways to compute one association: dense, fused and streaming."""
