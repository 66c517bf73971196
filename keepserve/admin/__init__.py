"""The admin listener: what the workers have counted, as a page, as JSON and for Prometheus."""
