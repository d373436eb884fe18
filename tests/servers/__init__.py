"""Real servers for the integration tests."""
