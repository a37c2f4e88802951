"""The audit of a suspect: what is committed to, what is asked, the verdict, and evidence that others can check."""
