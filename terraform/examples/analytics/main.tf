# Pool settings, an audit policy and a proxy that refers to both.

terraform {
  required_providers {
    heliosproxy = { source = "heliosdatabase/heliosproxy" }
  }
}

variable "namespace" {
  type    = string
  default = "databases"
}

variable "wait_for_ready" {
  description = "`false` for a cluster whose nodes are not there yet."
  type        = string
  default     = "true"
}

provider "heliosproxy" {
  namespace = var.namespace
}

resource "heliosproxy_pool_profile" "default" {
  name              = "default"
  mode              = "transaction"
  max_pool_size     = 200
  min_idle          = 20
  idle_timeout_secs = 60
  max_lifetime_secs = 1800
}

resource "heliosproxy_audit_policy" "pci" {
  name           = "pci"
  hash_chain     = true
  retention_days = 2555
  backend        = { type = "s3", bucket = "records", region = "eu-central-1" }
}

resource "heliosproxy_instance" "analytics" {
  name             = "analytics"
  replicas         = 2
  nodes            = [{ host = "db-0.example", role = "primary" }, { host = "db-1.example", role = "standby" }]
  auth             = { method = "trust" }
  pool_profile_ref = heliosproxy_pool_profile.default.name
  wait_for_ready   = var.wait_for_ready
}

output "endpoint" { value = heliosproxy_instance.analytics.endpoint }
output "current_primary" { value = heliosproxy_instance.analytics.current_primary }
