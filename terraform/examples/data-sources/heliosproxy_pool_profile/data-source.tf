data "heliosproxy_pool_profile" "default" {
  name = "default"
}

output "used_by" { value = data.heliosproxy_pool_profile.default.status.used_by }
