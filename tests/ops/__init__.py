"""The rows of `tests.test_ops`: operations of every backend."""
