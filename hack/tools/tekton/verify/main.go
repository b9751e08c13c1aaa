// Command verify judges Tekton definitions with Tekton's own code, as its controller does with what a resolver returned.
//
//	verify [-key PUBLIC.pem] [-hash sha256] FILE...
//
// For each file it prints one line of JSON: the checksum, whether the signature annotation is by the key, or why Tekton refuses the file.
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"

	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/apis/pipeline/v1alpha1"
	"github.com/tektoncd/pipeline/pkg/apis/pipeline/v1beta1"
	"github.com/tektoncd/pipeline/pkg/client/clientset/versioned/scheme"
	"github.com/tektoncd/pipeline/pkg/trustedresources"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/logging"
)

type definition interface {
	metav1.Object
	apis.Defaultable
	apis.Validatable
	Checksum() ([]byte, error)
}

type verdict struct {
	File     string `json:"file"`
	Checksum string `json:"checksum,omitempty"`
	Verified bool   `json:"verified"`
	// Why it cannot be decoded or hashed at all.
	Error string `json:"error,omitempty"`
	// Why the signature does not count.
	Refusal string `json:"refusal,omitempty"`
	// What Tekton's webhook would say about it besides; no matter of signatures.
	Invalid string `json:"invalid,omitempty"`
}

func main() {
	keyFile := flag.String("key", "", "public key, PEM")
	hash := flag.String("hash", "sha256", "hashAlgorithm of the policy")
	flag.Parse()
	ctx := logging.WithLogger(context.Background(), zap.NewNop().Sugar())
	var policies []*v1alpha1.VerificationPolicy
	if *keyFile != "" {
		pem, err := os.ReadFile(*keyFile)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		policies = append(policies, &v1alpha1.VerificationPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "publisher"},
			Spec: v1alpha1.VerificationPolicySpec{
				Resources:   []v1alpha1.ResourcePattern{{Pattern: ".*"}},
				Authorities: []v1alpha1.Authority{{Name: "publisher", Key: &v1alpha1.KeyRef{Data: string(pem), HashAlgorithm: v1alpha1.HashAlgorithm(*hash)}}},
			},
		})
	}
	out := json.NewEncoder(os.Stdout)
	for _, file := range flag.Args() {
		found := judge(ctx, file, policies)
		found.File = file
		if err := out.Encode(found); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func judge(ctx context.Context, file string, policies []*v1alpha1.VerificationPolicy) verdict {
	data, err := os.ReadFile(file)
	if err != nil {
		return verdict{Error: err.Error()}
	}
	// As pkg/remote/resolution/resolver.go decodes what a resolver returned.
	codecs := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict)
	object, _, err := codecs.UniversalDeserializer().Decode(data, nil, nil)
	if err != nil {
		return verdict{Error: err.Error()}
	}
	of, ok := object.(definition)
	if !ok {
		return verdict{Error: fmt.Sprintf("%T is no definition", object)}
	}
	switch object.(type) {
	case *v1.Task, *v1.Pipeline, *v1beta1.Task, *v1beta1.Pipeline, *v1beta1.StepAction:
	default:
		return verdict{Error: fmt.Sprintf("%T is not supported by Assay", object)}
	}
	of.SetDefaults(ctx)
	of.SetOwnerReferences(nil)
	checksum, err := of.Checksum()
	if err != nil {
		return verdict{Error: err.Error()}
	}
	found := verdict{Checksum: hex.EncodeToString(checksum)}
	if invalid := of.Validate(ctx); invalid != nil {
		found.Invalid = invalid.Error()
	}
	result := trustedresources.VerifyResource(ctx, of, nil, &v1.RefSource{URI: "https://example.com/definition"}, policies)
	found.Verified = len(policies) > 0 && result.VerificationResultType == trustedresources.VerificationPass
	if result.Err != nil {
		found.Refusal = result.Err.Error()
	}
	return found
}
