"""When things run: schedules create runs, workers work them."""
