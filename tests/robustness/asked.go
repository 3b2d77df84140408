package main

import (
	"math"
	"slices"
	"sort"

	"github.com/anishathalye/porcupine"
	"go.etcd.io/etcd/tests/v3/robustness/model"
	"go.etcd.io/etcd/tests/v3/robustness/report"
)

// past knows the highest revision that was answered until a moment.
type past struct {
	returned  []int64
	revisions []int64
}

func pastOf(reports []report.ClientReport) past {
	type answer struct{ returned, revision int64 }
	var answers []answer
	for _, r := range reports {
		for _, operation := range r.KeyValue {
			response := operation.Output.(model.MaybeEtcdResponse)
			if response.Error == "" && response.Revision > 0 {
				answers = append(answers, answer{operation.Return, response.Revision})
			}
		}
	}
	slices.SortFunc(answers, func(a, b answer) int { return int(a.returned - b.returned) })
	var p past
	highest := int64(0)
	for _, a := range answers {
		highest = max(highest, a.revision)
		p.returned = append(p.returned, a.returned)
		p.revisions = append(p.revisions, highest)
	}
	return p
}

func (p past) before(moment int64) int64 {
	count := sort.Search(len(p.returned), func(i int) bool { return p.returned[i] >= moment })
	if count == 0 {
		return math.MinInt64
	}
	return p.revisions[count-1]
}

// asked knows what clients asked for, whether they were answered or not.
type asked struct {
	puts    map[model.PutOptions]int
	deletes map[string]bool
	// Those whose outcome nobody knows.
	unknownDeletes map[string]bool
	revokes        map[int64]bool
}

func newAsked() asked {
	return asked{map[model.PutOptions]int{}, map[string]bool{}, map[string]bool{}, map[int64]bool{}}
}

func (a asked) note(operation porcupine.Operation) {
	request := operation.Input.(model.EtcdRequest)
	switch request.Type {
	case model.LeaseRevoke:
		a.revokes[request.LeaseRevoke.LeaseID] = true
	case model.Txn:
		for _, o := range request.Txn.AllOperations() {
			switch o.Type {
			case model.PutOperation:
				a.puts[o.Put]++
			case model.DeleteOperation:
				a.deletes[o.Delete.Key] = true
				if operation.Output.(model.MaybeEtcdResponse).Error != "" {
					a.unknownDeletes[o.Delete.Key] = true
				}
			}
		}
	}
}

func (a asked) check(j *judge) {
	leaseOf := map[string]int64{}
	done := map[model.PutOptions]int{}
	j.history.each(func(revision int64, changes []change) {
		for _, c := range changes {
			if c.Deleted {
				if !a.deletes[c.Key] && !a.revokes[leaseOf[c.Key]] {
					j.say("nobody asked for the deletion of %q at revision %d", c.Key, revision)
				}
				continue
			}
			leaseOf[c.Key] = c.Lease
			put := model.PutOptions{Key: c.Key, Value: c.modelValue(), LeaseID: c.Lease}
			if done[put]++; done[put] > a.puts[put] {
				j.say("asked for %d times, and done %d times, at last at revision %d: %+v", a.puts[put], done[put], revision, c)
			}
		}
	})
}
