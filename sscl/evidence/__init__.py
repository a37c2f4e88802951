"""Evidence that outlives the audit: commitment before release, signed bundle after it, and a check by anybody."""
