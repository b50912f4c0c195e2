variable "password" {
  description = "Password of the role `app`; in no state, plan or log."
  type        = string
  sensitive   = true
  ephemeral   = true
}

resource "heliosproxy_instance" "analytics" {
  name  = "analytics"
  nodes = [{ host = "db-0.example", role = "primary" }, { host = "db-1.example", role = "standby" }]

  pool        = { mode = "transaction", max_connections = 50 }
  routing     = { read_write_split = true }
  credentials = { app = { password_wo = var.password, password_wo_version = 1 } }

  wait_for_ready = "strict"
  timeouts       = { create = "5m" }
}

output "current_primary" { value = heliosproxy_instance.analytics.current_primary }
