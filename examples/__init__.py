"""Examples that run: a suspect's API to try an audit on."""
