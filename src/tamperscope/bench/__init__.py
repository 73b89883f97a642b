"""Benches: a protocol says what is measured; running it fills a cache; results, tables and pages are made from that."""
