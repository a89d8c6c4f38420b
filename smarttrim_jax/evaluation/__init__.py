"""One evaluator for padded and packed execution, the measurement of the speed dial, and reports."""
