"""Destinations that need nothing installed."""
