"""The Kafka connector on a real broker."""
