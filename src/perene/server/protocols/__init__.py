"""Predictions in the words of others: the Open Inference Protocol v2, and MLflow's scoring server."""
