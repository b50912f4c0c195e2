// Prints what kind makes of a configuration file as JSON, or why it refuses it (status 1).
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"sigs.k8s.io/kind/pkg/internal/apis/config/encoding"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: reader FILE")
		os.Exit(2)
	}
	cluster, err := encoding.Load(os.Args[1])
	if err == nil {
		err = cluster.Validate()
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(cluster)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
