"""Pool settings, an audit policy and a proxy that refers to both."""

import pulumi
import pulumi_heliosproxy as heliosproxy


def analytics() -> None:
    """The program. `pulumi config set wait false` for a cluster whose nodes are not there yet."""
    wait = pulumi.Config("analytics").get("wait") or "true"
    profile = heliosproxy.PoolProfile(
        "default", name="default", mode="transaction", max_pool_size=200, min_idle=20, idle_timeout_secs=60
    )
    policy = heliosproxy.AuditPolicy(
        "pci",
        name="pci",
        hash_chain=True,
        retention_days=2555,
        backend=heliosproxy.AuditPolicyBackendArgs(type="s3", bucket="records", region="eu-central-1"),
    )
    proxy = heliosproxy.Instance(
        "analytics",
        name="analytics",
        nodes=[
            heliosproxy.InstanceNodesArgs(host="db-0.example", role="primary"),
            heliosproxy.InstanceNodesArgs(host="db-1.example", role="standby"),
        ],
        auth=heliosproxy.InstanceAuthArgs(method="trust"),
        pool_profile_ref=profile.name,
        audit_policy_ref=policy.name,
        wait_for_ready=wait,
    )
    pulumi.export("endpoint", proxy.endpoint)
    pulumi.export("currentPrimary", proxy.current_primary)
