"""Numbers, comparisons, claims, tables and figures from saved results, in the order in which they are read:

evidence (what a run's attacks found) and names (what it is called) → comparisons (one attack minus another) →
claim_pairs and best (which are compared) → claims (verdicts) → claims_table, tables, added, answer (text) and drawing,
figures (pictures) → report (one page; its parts: report_parts, exposed). writing has what all tables share. ablation
and differences tell what the released protocol moves, committed draws the README's figure.
"""
