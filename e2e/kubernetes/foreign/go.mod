// Other projects whose CustomResourceDefinitions the tests install: nothing of them is built.
module helios.test/foreign

go 1.24

require github.com/prometheus-operator/prometheus-operator v0.85.0
