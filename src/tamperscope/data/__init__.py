"""Samples on disk: manifests."""
