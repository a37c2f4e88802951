"""The comparison: a matrix of watermarks, attacks and suspects, each cell computed once."""
