"""What is watched: freshness, quality and bias of what was answered, and the alerts that come of them."""
