"""`kubectl helios`: HeliosProxies looked at, asked and held from a person's machine. The hold is all it writes."""
