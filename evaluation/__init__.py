"""From scores to statements: comparisons, claims, ablation, tables, figures, report."""
