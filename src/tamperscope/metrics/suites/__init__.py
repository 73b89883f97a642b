"""Suites: named sets of metrics with every convention fixed, so that a table says what it measured.

A suite first observes pictures one by one (`observe`: a row of numbers, fit for JSON), then summarizes the rows of all
pictures (`summarize`). Nothing else of a picture is kept, and neither order nor batches play a part.
"""
