data "heliosproxy_routing_rule" "reports" {
  name = "reports"
}

output "route" { value = data.heliosproxy_routing_rule.reports.route }
