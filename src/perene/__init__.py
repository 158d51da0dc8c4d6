"""perene."""
