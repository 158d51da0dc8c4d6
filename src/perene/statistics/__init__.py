"""Numbers with their uncertainty: intervals over days, the release gate, scores of all rows. Pure numpy and scipy."""
