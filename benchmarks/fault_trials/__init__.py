"""Trials under faults, a module for each part that can fail."""
