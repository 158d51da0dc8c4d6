"""What is done with a model: data, training, validation, serving. They meet only in the repositories."""
