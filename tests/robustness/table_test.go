package main

import "testing"

func TestRowsThatDifferAreFound(t *testing.T) {
	h, _ := sound()
	rows := map[int64][]change{2: {{Key: "a", Value: "1", Version: 1}}, 3: {{Key: "a", Value: "2"}}}
	if err := compareRows(h, rows, -1); err != nil {
		t.Error(err)
	}
	rows[3][0].Value = "1"
	if compareRows(h, rows, -1) == nil {
		t.Error("revision 3 differs")
	}
}
