"""Pipelines that call code of their project, and carry gates: for the tests of releases."""
