// Pool settings, an audit policy and a proxy that refers to both.
import * as heliosproxy from "@heliosdatabase/pulumi-heliosproxy";
import * as pulumi from "@pulumi/pulumi";

// `pulumi config set wait false` for a cluster whose nodes are not there yet.
export async function analytics() {
  const wait = new pulumi.Config("analytics").get("wait") ?? "true";
  const profile = new heliosproxy.PoolProfile("default", {
    name: "default",
    mode: "transaction",
    maxPoolSize: 200,
    minIdle: 20,
    idleTimeoutSecs: 60,
  });
  const policy = new heliosproxy.AuditPolicy("pci", {
    name: "pci",
    hashChain: true,
    retentionDays: 2555,
    backend: { type: "s3", bucket: "records", region: "eu-central-1" },
  });
  const proxy = new heliosproxy.Instance("analytics", {
    name: "analytics",
    nodes: [
      { host: "db-0.example", role: "primary" },
      { host: "db-1.example", role: "standby" },
    ],
    auth: { method: "trust" },
    poolProfileRef: profile.name,
    auditPolicyRef: policy.name,
    waitForReady: wait,
  });
  return { endpoint: proxy.endpoint, currentPrimary: proxy.currentPrimary };
}
