resource "heliosproxy_pool_profile" "default" {
  name              = "default"
  mode              = "transaction"
  max_pool_size     = 50
  min_idle          = 5
  idle_timeout_secs = 60
  max_lifetime_secs = 1800
}
