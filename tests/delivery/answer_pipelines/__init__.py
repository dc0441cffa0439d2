"""A pipeline that trains in a second, judges and publishes as the real one does: for the tests of the delivery verbs."""
