// The objects in examples/ are what an API server takes: decoded strictly, given their defaults, and validated, by its own code.
package examples

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/batch"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
)

func validate(object runtime.Object) (field.ErrorList, bool) {
	options := corevalidation.PodValidationOptions{}
	switch object := object.(type) {
	case *core.Pod:
		return corevalidation.ValidatePodCreate(object, options), true
	case *batch.CronJob:
		return batchvalidation.ValidateCronJobCreate(object, options), true
	case *core.PersistentVolumeClaim:
		return corevalidation.ValidatePersistentVolumeClaim(object, corevalidation.PersistentVolumeClaimSpecValidationOptions{}), true
	}
	return nil, false
}

// The objects of a file as the API server has them, with defaults.
func internal(t *testing.T, text []byte) []runtime.Object {
	t.Helper()
	decoder := serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict).UniversalDecoder()
	var objects []runtime.Object
	for at, document := range documents(t, text) {
		object, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			t.Fatalf("document %d: %v", at+1, err)
		}
		objects = append(objects, object)
	}
	return objects
}

func TestEveryManifestIsValid(t *testing.T) {
	count := 0
	for _, name := range []string{"k8s-dqlite.pod.yaml", "backup-cronjob.yaml"} {
		text, err := os.ReadFile(filepath.Join("../../examples", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range internal(t, text) {
			faults, isKnown := validate(object)
			if !isKnown {
				t.Errorf("%s: nobody validates a %T", name, object)
			}
			for _, fault := range faults {
				t.Errorf("%s: %v", name, fault)
			}
			count++
		}
	}
	if count != 3 {
		t.Errorf("%d objects, not 3", count)
	}
}

func TestAnInvalidObjectIsRefused(t *testing.T) {
	text, err := os.ReadFile("../../examples/backup-cronjob.yaml")
	if err != nil {
		t.Fatal(err)
	}
	wrong := bytes.Replace(text, []byte(`"7 * * * *"`), []byte(`"77 * * * *"`), 1)
	if faults, _ := validate(internal(t, wrong)[0]); len(faults) == 0 {
		t.Error("a schedule that is none is taken")
	}
}
