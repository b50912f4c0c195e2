data "heliosproxy_tenant_quota" "acme" {
  name = "acme"
}

output "limit" { value = data.heliosproxy_tenant_quota.acme.max_queries_per_minute }
