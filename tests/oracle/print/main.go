// Prints rows as the k8sd of Go prints them: decoded from JSON, in the default form of its values.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	var rows [][]any
	if err := json.NewDecoder(os.Stdin).Decode(&rows); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(rows)
}
