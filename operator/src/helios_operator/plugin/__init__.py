"""`kubectl helios`: HeliosProxies looked at and asked from a person's machine. It writes nothing into the cluster."""
