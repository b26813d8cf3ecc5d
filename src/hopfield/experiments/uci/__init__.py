"""The paper's small tables: the classifier of tables against tuned rivals (Ramsauer et al. 2021, table 2)."""
