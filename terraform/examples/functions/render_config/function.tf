output "config" {
  value = provider::heliosproxy::render_config("analytics", {
    nodes = [{ host = "db-0.example" }]
    pool  = { max_connections = 50 }
  })
}
