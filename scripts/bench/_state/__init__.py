"""`scripts/bench/state`: limits and budgets of several real workers."""
