"""The AWS connector on servers that speak as AWS does."""
