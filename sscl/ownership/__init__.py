"""The ownership code: exact tests of whether a model knows which mark goes with which group."""
