"""Pipelines that need no model: for the tests of delivery."""
