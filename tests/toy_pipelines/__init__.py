"""The main flow on the toy model: for the tests of the flow itself."""
