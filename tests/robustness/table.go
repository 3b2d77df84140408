package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// A row of the view kine: what one transaction did to one key, as people see it who look into the database.
type row struct {
	ID      int64  `json:"id"`
	Name    string `json:"name"`
	Created int64  `json:"created"`
	Deleted int64  `json:"deleted"`
	Lease   int64  `json:"lease"`
	Value   string `json:"value"`
}

// checkTable compares the rows of the database with the history. Above the compaction revision all of it has to be there.
func checkTable(shell string, arguments []string, h *history) error {
	arguments = append(slices.Clone(arguments), "-f", "jsonl", "--timeout", "20000", "k8s",
		"SELECT id, name, created, deleted, lease, coalesce(hex(value), '') AS value,"+
			" (SELECT value FROM meta WHERE name = 'compact_revision') AS compacted FROM kine")
	output, err := exec.Command(shell, arguments...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return fmt.Errorf("the dqlite shell: %w: %s", err, exit.Stderr)
		}
		return fmt.Errorf("the dqlite shell: %w", err)
	}
	rows := map[int64][]change{}
	compacted := int64(-1)
	for line := range bytes.Lines(output) {
		var r struct {
			row
			Compacted int64 `json:"compacted"`
		}
		if err := json.Unmarshal(line, &r); err != nil {
			return fmt.Errorf("the dqlite shell's answer %q: %w", line, err)
		}
		value, err := hex.DecodeString(r.Value)
		if err != nil {
			return err
		}
		compacted = r.Compacted
		rows[r.ID] = append(rows[r.ID], change{
			Key: r.Name, Value: string(value), Deleted: r.Deleted == 1, Lease: r.Lease, Version: r.Created,
		})
	}
	return compareRows(h, rows, compacted)
}

func compareRows(h *history, rows map[int64][]change, compacted int64) error {
	for revision := max(compacted+1, 2); revision <= h.last; revision++ {
		// The view has no order inside of a revision, and of the version it knows only whether it is the first.
		expected := slices.Clone(h.changes[revision])
		for i := range expected {
			expected[i].CreateRevision = 0
			if expected[i].Version != 1 {
				expected[i].Version = 0
			}
		}
		byKey := func(a, b change) int { return strings.Compare(a.Key, b.Key) }
		slices.SortFunc(expected, byKey)
		slices.SortFunc(rows[revision], byKey)
		if !slices.Equal(expected, rows[revision]) {
			return fmt.Errorf("the view kine has %+v at revision %d, and watches had %+v", rows[revision], revision, expected)
		}
	}
	for revision := range rows {
		if revision > h.last {
			return fmt.Errorf("the view kine goes up to revision %d at least, and the history ends at %d", revision, h.last)
		}
	}
	return nil
}
