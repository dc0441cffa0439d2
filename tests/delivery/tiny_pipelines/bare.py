"""A pipeline that says nothing of its image, its limits or its names, and writes no records."""

from kfp import dsl


@dsl.component
def do_nothing():
    """Nothing, in KFP's default image."""


@dsl.pipeline(name="bare")
def bare():
    """One step, as a beginner writes it."""
    do_nothing()
