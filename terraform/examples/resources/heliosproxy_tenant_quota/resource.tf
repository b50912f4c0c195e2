resource "heliosproxy_tenant_quota" "acme" {
  name                       = "acme"
  max_concurrent_connections = 10
  max_queries_per_minute     = 600
  max_bytes_read_per_minute  = 100000000
}
