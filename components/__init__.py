"""Reusable steps, one folder a step: step.py says what it does, component.py how KFP runs it."""

# Named without a digest here: a release pins it. KFP's local runner wants the word "python" in the name of a Python image.
IMAGE = "mlops/python-steps"
