package main

// What an SDK of Go imports of Pulumi's own, so that go.mod and go.sum pin it: the tests compile one by them.
import (
	_ "github.com/blang/semver"
	_ "github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	_ "github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"
	_ "github.com/pulumi/pulumi/sdk/v3/go/pulumix"
)
