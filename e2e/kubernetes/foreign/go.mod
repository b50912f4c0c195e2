// Other projects whose CustomResourceDefinitions the tests install: nothing of them is built.
module helios.test/foreign

go 1.24

require (
	github.com/cert-manager/cert-manager v1.19.1
	github.com/cloudnative-pg/cloudnative-pg v1.27.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
	github.com/zalando/postgres-operator v1.14.0
)
