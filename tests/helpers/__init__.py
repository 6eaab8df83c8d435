"""What several tests use: servers, oracles, models, processes."""
