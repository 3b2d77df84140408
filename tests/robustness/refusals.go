package main

import (
	"slices"

	"github.com/anishathalye/porcupine"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/tests/v3/robustness/model"
	"go.etcd.io/etcd/tests/v3/robustness/report"
)

// Errors that say that nothing was done.
var refusals = []string{
	rpctypes.ErrorDesc(rpctypes.ErrGRPCNoSpace),
	rpctypes.ErrorDesc(rpctypes.ErrGRPCLeaseNotFound),
}

func isRefusal(response model.MaybeEtcdResponse) bool {
	return slices.Contains(refusals, response.Error)
}

// withoutRefusals leaves out requests that were refused. For etcd's validation every error is an unknown outcome, of which
// porcupine tries both, and a full disk makes more of them than it can try. If one was done nevertheless, nobody asked for it.
func withoutRefusals(reports []report.ClientReport) (kept []report.ClientReport) {
	for _, r := range reports {
		r.KeyValue = slices.DeleteFunc(slices.Clone(r.KeyValue), func(operation porcupine.Operation) bool {
			return isRefusal(operation.Output.(model.MaybeEtcdResponse))
		})
		kept = append(kept, r)
	}
	return kept
}
