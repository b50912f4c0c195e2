resource "heliosproxy_routing_rule" "reports" {
  name           = "reports"
  match          = { application_name_patterns = ["report*", "metabase"] }
  route          = "standby"
  consistency    = "eventual"
  max_lag_millis = 5000
}
