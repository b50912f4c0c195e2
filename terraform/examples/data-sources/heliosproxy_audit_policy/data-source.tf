data "heliosproxy_audit_policy" "pci" {
  name = "pci"
}

output "bucket" { value = data.heliosproxy_audit_policy.pci.backend.bucket }
