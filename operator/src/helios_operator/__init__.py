"""The Kubernetes operator: watches the resources of `helios_crds` and keeps what runs for them in line."""
