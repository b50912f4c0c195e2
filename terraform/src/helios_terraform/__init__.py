"""The Terraform and OpenTofu provider `heliosdatabase/heliosproxy`: the same objects as kubectl apply, by one table.

`plugin` speaks Terraform's protocol, `planner` says what a plan holds, `state` what a state holds, `lifecycle` does the
work by `helios_iac`, `servicer` ties them to the calls. Started by Terraform as `terraform-provider-heliosproxy`.
"""
