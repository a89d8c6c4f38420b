"""One evaluator for every execution, the measurement of the speed dial, and reports."""
