"""Studies: what is declared, what was carried out, and the report."""
