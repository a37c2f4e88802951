"""What answers mean: read from replies and rows of numbers alone, so that evidence can be checked without a suspect."""
