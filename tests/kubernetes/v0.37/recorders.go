package testserver

import storagetesting "k8s.io/apiserver/pkg/storage/testing"

// record sets the recorders that tests ask what was read.
func record(client *Client) {
	lists := storagetesting.NewKubernetesRecorder(client)
	client.KV = storagetesting.NewKVRecorder(client.KV, lists)
	client.Kubernetes = lists
}
