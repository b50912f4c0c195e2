resource "heliosproxy_audit_policy" "pci" {
  name            = "pci"
  backend         = { type = "s3", bucket = "records", region = "eu-central-1" }
  hash_chain      = true
  retention_days  = 2555
  included_tables = ["public.cards"]
  excluded_users  = ["monitoring"]
}
