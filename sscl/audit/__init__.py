"""The audit of one suspicious model: what is asked, and the verdict in plain words."""
