// The objects in examples/ are what Kubernetes and kubeadm read: each is decoded strictly, with their own types.
package examples

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	kubeadmv1beta4 "k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm/v1beta4"
)

// Files of examples/ that are no objects of Kubernetes; scripts/test examples looks at them by other means.
var others = map[string]bool{"prometheus.yaml": true}

// Kubernetes' decoder, which refuses fields that it does not know and keys that are there twice.
func decoder(t *testing.T) runtime.Decoder {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, batchv1.AddToScheme, appsv1.AddToScheme, kubeadmv1beta4.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
}

// The documents of a file.
func documents(t *testing.T, text []byte) [][]byte {
	t.Helper()
	reader := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(text)))
	defer reader.Close()
	var all [][]byte
	buffer := make([]byte, len(text)+1)
	for {
		n, err := reader.Read(buffer)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(bytes.TrimSpace(buffer[:n])) > 0 {
			all = append(all, bytes.Clone(buffer[:n]))
		}
	}
}

func TestEveryExampleIsDecodedStrictly(t *testing.T) {
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no examples", err)
	}
	decode := decoder(t)
	count := 0
	for _, file := range files {
		if others[filepath.Base(file)] {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for at, document := range documents(t, text) {
			object, kind, err := decode.Decode(document, nil, nil)
			if err != nil {
				t.Errorf("%s, document %d: %v", file, at+1, err)
				continue
			}
			t.Logf("%s: %s, %T", filepath.Base(file), kind, object)
			count++
		}
	}
	if count < 3 {
		t.Errorf("only %d objects", count)
	}
}

func TestAFieldThatIsNoneIsRefused(t *testing.T) {
	text, err := os.ReadFile("../../examples/kubeadm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	wrong := bytes.Replace(text, []byte("endpoints:"), []byte("endpoint:"), 1)
	refused := false
	for _, document := range documents(t, wrong) {
		_, _, err := decoder(t).Decode(document, nil, nil)
		refused = refused || err != nil && strings.Contains(err.Error(), "unknown field")
	}
	if !refused {
		t.Error("a field that kubeadm does not know is taken")
	}
}
