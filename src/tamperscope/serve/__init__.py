"""The service: pictures over HTTP, scanned by isolated worker processes."""
