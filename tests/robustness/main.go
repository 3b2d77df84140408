// Etcd's robustness test on k8s-dqlite: etcd's own traffic, recording clients, model and validation, unmodified, with faults
// of ours on one node and on three.
package main

import (
	"fmt"
	"os"
)

// The programs that are used.
type programs struct {
	root   string
	server string
	isEtcd bool
	// The directory of the certificate that nodes share.
	pair string
}

func say(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "robustness: "+format+"\n", arguments...)
}

func main() {
	fmt.Fprintln(os.Stderr, "there are no nodes to test yet")
	os.Exit(2)
}
