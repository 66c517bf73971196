"""What the benchmarks compute: figures, ranks, tables, and what load generators print. Nothing here measures."""
