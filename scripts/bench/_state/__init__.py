"""`scripts/bench/state`: limits and budgets of several real workers; sessions and log as their files grow."""
