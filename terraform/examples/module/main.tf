# A proxy by the module, with users, pool settings of its own and a rule; the apply ends when its pods serve.

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
  type    = string
  default = "strict"
}

variable "password" {
  type      = string
  sensitive = true
  ephemeral = true
}

provider "heliosproxy" {
  namespace = var.namespace
}

module "shop" {
  source = "../../modules/heliosproxy"

  name           = "shop"
  wait_for_ready = var.wait_for_ready
  nodes          = [{ host = "db-0.example", role = "primary" }, { host = "db-1.example" }]

  pool_profile  = { mode = "transaction", max_pool_size = 40 }
  routing_rules = [{ name = "reports", match = { application_name_patterns = ["report*"] }, route = "standby" }]

  credentials = { app = 1 }
  passwords   = { app = var.password }
}

output "endpoint" { value = module.shop.endpoint }
output "connection_secret" { value = module.shop.connection_secret }
