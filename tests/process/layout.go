package process

import (
	"fmt"
	"os"
	"path/filepath"
)

// LayOut puts into a directory what a node's first start needs: its address, those of the nodes that it joins, if it does not
// begin a cluster, and cluster.crt and cluster.key of the directory that pair names.
func LayOut(dir, pair, address string, joined []string) error {
	init := fmt.Sprintf("Address: %s\n", address)
	if len(joined) > 0 {
		init += "Cluster:\n"
	}
	for _, other := range joined {
		init += fmt.Sprintf("- %s\n", other)
	}
	files := map[string][]byte{"init.yaml": []byte(init)}
	for _, name := range []string{"cluster.crt", "cluster.key"} {
		content, err := os.ReadFile(filepath.Join(pair, name))
		if err != nil {
			return err
		}
		files[name] = content
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
