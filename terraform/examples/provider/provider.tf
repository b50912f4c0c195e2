terraform {
  required_providers {
    heliosproxy = { source = "heliosdatabase/heliosproxy" }
  }
}

# Left out arguments come from the environment and from what kubectl reads.
provider "heliosproxy" {
  kube_context = "production"
  namespace    = "databases"
}
