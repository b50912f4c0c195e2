"""A proxy and its pool settings as a program: `python main.py` writes cdktf.out/stacks/shop/cdk.tf.json for Terraform.

It runs on cdktn where that is installed, else on cdktf; NAMESPACE names the namespace.
"""

import os

from helios_cdktf import HeliosproxyProvider, HighlyAvailableProxy, Instance, PoolProfile
from helios_cdktf.toolkit import toolkit

app = toolkit.App()
stack = toolkit.TerraformStack(app, "shop")
HeliosproxyProvider(stack, "heliosproxy", namespace=os.environ.get("NAMESPACE", "databases"))

profile = PoolProfile(stack, "fast", name="fast", max_pool_size=20, wait_for_ready="false")
web = Instance(
    stack,
    "web",
    name="web",
    nodes=[{"host": "db-0.example", "role": "primary"}],
    auth={"method": "trust"},
    pool_profile_ref=profile.output("name"),
    wait_for_ready="false",
)
HighlyAvailableProxy(
    stack,
    "shop",
    name="shop",
    primary="db-0.example",
    standbys=["db-1.example"],
    max_connections=50,
    wait_for_ready="false",
)
toolkit.TerraformOutput(stack, "endpoint", value=web.endpoint)

app.synth()
