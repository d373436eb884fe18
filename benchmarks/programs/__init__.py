"""Programs that scenarios start: what is measured there must be alone in its process."""
