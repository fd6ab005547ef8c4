"""The server: HTTP, and the run that ties collectors, delivery and the port together."""
