package testserver

import storagetesting "k8s.io/apiserver/pkg/storage/testing"

// record sets the recorders that tests ask what was read.
func record(client *Client) {
	client.KV = storagetesting.NewKVRecorder(client.KV)
	client.Kubernetes = storagetesting.NewKubernetesRecorder(client)
}
