// Reads a configuration of kind as kind does. The path is below kind's own because what reads it is internal to that.
module sigs.k8s.io/kind/pkg/helios-reader

go 1.26.0

require sigs.k8s.io/kind v0.33.0

require (
	github.com/pkg/errors v0.9.1 // indirect
	go.yaml.in/yaml/v3 v3.0.4 // indirect
)
