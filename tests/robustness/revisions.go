package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
	"go.etcd.io/etcd/tests/v3/robustness/model"
	"go.etcd.io/etcd/tests/v3/robustness/report"
)

// Findings come in crowds; so many of a kind are enough.
const findingsShown = 10

// checkRevisions compares what clients were told with what the store wrote. Each answer names a revision, and the history
// says what the store was at it, so that nothing has to be searched for, as porcupine does:
//
//   - a write that was answered is in the history at the revision of its answer, with its changes and no others;
//   - a write without an answer is there once at most, and nothing is there that nobody asked for;
//   - a revocation that deleted keys has the revision of their deletion;
//   - a read has the keys and values of its revision;
//   - no answer has a lower revision than one that came before the request was sent;
//   - events of watches are those of the history.
func checkRevisions(h *history, reports []report.ClientReport) []string {
	j := judge{history: h}
	j.findings = append(j.findings, h.check()...)
	if len(j.findings) > 0 {
		return j.findings
	}
	j.reports(reports)
	return j.findings
}

type judge struct {
	history  *history
	findings []string
	// Reads by the revision that they are of.
	reads map[int64][]read
}

type read struct {
	options  model.RangeOptions
	response model.RangeResponse
	text     string
}

func (j *judge) say(format string, arguments ...any) {
	j.findings = append(j.findings, fmt.Sprintf(format, arguments...))
}

func (j *judge) reports(reports []report.ClientReport) {
	j.reads = map[int64][]read{}
	asked := newAsked()
	past := pastOf(reports)
	writes := map[int64]string{}
	for _, r := range reports {
		for _, operation := range r.KeyValue {
			asked.note(operation)
			response := operation.Output.(model.MaybeEtcdResponse)
			if response.Error != "" || response.ClientError != "" || response.Revision <= 0 {
				continue
			}
			text := describe(operation)
			changed := j.answer(operation, text)
			if changed {
				if other, found := writes[response.Revision]; found {
					j.say("two writes have revision %d: %s; %s", response.Revision, other, text)
				}
				writes[response.Revision] = text
			}
			if before := past.before(operation.Call); response.Revision < before ||
				changed && response.Revision == before {
				j.say("revision %d had been answered before: %s", before, text)
			}
		}
		for _, watch := range r.Watch {
			j.watch(r.ClientID, watch)
		}
	}
	asked.check(j)
	j.checkReads()
	j.checkRevocations(reports, asked, past)
}

func describe(operation porcupine.Operation) string {
	return fmt.Sprintf("stream %d, %d to %d ns: %s", operation.ClientId, operation.Call, operation.Return,
		model.NonDeterministicModel(nil).DescribeOperation(operation.Input, operation.Output))
}

// answer checks one answer, and tells whether it is that of a write that changed something.
func (j *judge) answer(operation porcupine.Operation, text string) bool {
	request := operation.Input.(model.EtcdRequest)
	response := operation.Output.(model.MaybeEtcdResponse)
	if response.Revision > j.history.last {
		j.say("the history ends at revision %d: %s", j.history.last, text)
		return false
	}
	switch request.Type {
	case model.Range:
		at := request.Range.Revision
		if at == 0 {
			at = response.Revision
		}
		j.reads[at] = append(j.reads[at], read{request.Range.RangeOptions, *response.Range, text})
	case model.Txn:
		return j.transaction(request, response, text)
	}
	return false
}

func (j *judge) transaction(request model.EtcdRequest, response model.MaybeEtcdResponse, text string) bool {
	var expected []change
	operations := taken(request, response)
	if len(operations) != len(response.Txn.Results) {
		j.say("%d results for %d operations: %s", len(response.Txn.Results), len(operations), text)
		return false
	}
	for i, operation := range operations {
		switch {
		case operation.Type == model.PutOperation:
			expected = append(expected, change{Key: operation.Put.Key, Lease: operation.Put.LeaseID})
		case operation.Type == model.DeleteOperation && response.Txn.Results[i].Deleted > 0:
			expected = append(expected, change{Key: operation.Delete.Key, Deleted: true})
		}
	}
	if len(expected) == 0 {
		for i, operation := range operations {
			if operation.Type == model.RangeOperation {
				range_ := response.Txn.Results[i].RangeResponse
				j.reads[response.Revision] = append(j.reads[response.Revision], read{operation.Range, range_, text})
			}
		}
		return false
	}
	written := j.history.changes[response.Revision]
	same := slices.EqualFunc(expected, written, func(e, w change) bool {
		return e.Key == w.Key && e.Deleted == w.Deleted && e.Lease == w.Lease
	})
	puts := 0
	for i, operation := range operations {
		if operation.Type == model.DeleteOperation && response.Txn.Results[i].Deleted == 0 ||
			operation.Type == model.RangeOperation {
			continue
		}
		if same && operation.Type == model.PutOperation && written[puts].modelValue() != operation.Put.Value {
			same = false
		}
		puts++
	}
	if !same {
		j.say("the history has %+v at revision %d: %s", written, response.Revision, text)
	}
	return true
}

// checkReads goes through the history once, and compares each read with the state at its revision.
func (j *judge) checkReads() {
	state := map[string]model.ValueRevision{}
	check := func(revision int64) {
		for _, r := range j.reads[revision] {
			if expected := rangeOf(state, r.options); !reflect.DeepEqual(expected, r.response) {
				j.say("at revision %d there was %+v: %s", revision, expected, r.text)
			}
		}
	}
	check(1)
	j.history.each(func(revision int64, changes []change) {
		for _, c := range changes {
			if c.Deleted {
				delete(state, c.Key)
			} else {
				state[c.Key] = model.ValueRevision{Value: c.modelValue(), ModRevision: revision, Version: c.Version}
			}
		}
		check(revision)
	})
}

func rangeOf(state map[string]model.ValueRevision, options model.RangeOptions) model.RangeResponse {
	response := model.RangeResponse{KVs: []model.KeyValue{}}
	for _, key := range sortedKeys(state) {
		if key != options.Start && (options.End == "" || key < options.Start || key >= options.End) {
			continue
		}
		value := state[key]
		if options.KeysOnly {
			value.Value = model.ValueOrHash{}
		}
		response.Count++
		if options.Limit == 0 || response.Count <= options.Limit {
			response.KVs = append(response.KVs, model.KeyValue{Key: key, ValueRevision: value})
		}
	}
	return response
}

func (j *judge) watch(client int, watch model.WatchOperation) {
	for _, response := range watch.Responses {
		for _, event := range response.Events {
			if !j.has(event.PersistedEvent) {
				j.say("client %d was sent %+v, and the history has %+v", client, event, j.history.changes[event.Revision])
			}
		}
	}
}

func (j *judge) has(event model.PersistedEvent) bool {
	return slices.ContainsFunc(j.history.changes[event.Revision], func(c change) bool {
		return c.Key == event.Key && c.Deleted == (event.Type == model.DeleteOperation) &&
			(c.Deleted || c.modelValue() == event.Value && event.IsCreate == (c.Version == 1))
	})
}

func firstOf(findings []string) string {
	text := strings.Join(findings[:min(len(findings), findingsShown)], "\n")
	if more := len(findings) - findingsShown; more > 0 {
		text += fmt.Sprintf("\nand %d more", more)
	}
	return text
}
