data "heliosproxy_instance" "analytics" {
  name      = "analytics"
  namespace = "databases"
}

output "phase" { value = data.heliosproxy_instance.analytics.status.phase }
