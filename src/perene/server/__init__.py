"""The HTTP door: one hot route for predictions, everything else in Starlette."""
