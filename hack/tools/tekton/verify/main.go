// Command verify judges Tekton definitions with Tekton's own code, as its controller does with what a resolver returned.
//
//	verify [-key PUBLIC.pem] [-hash sha256] FILE...
//	verify -policies POLICIES.json [-source URI] FILE...
//
// For each file it prints one line of JSON: the checksum, whether the signature annotation is by the key, or why Tekton refuses the file.
// With a JSON list of VerificationPolicies it says what they come to for a definition that was resolved from URI.
package main

import (
	"bytes"
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
	"k8s.io/apimachinery/pkg/runtime"
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
	// What the policies come to: none, pass, warn or error.
	Outcome string `json:"outcome,omitempty"`
	// Why the signature does not count.
	Refusal string `json:"refusal,omitempty"`
	// What Tekton's webhook would say about it besides; no matter of signatures.
	Invalid string `json:"invalid,omitempty"`
}

var outcomes = map[trustedresources.VerificationResultType]string{
	trustedresources.VerificationSkip:  "none",
	trustedresources.VerificationPass:  "pass",
	trustedresources.VerificationWarn:  "warn",
	trustedresources.VerificationError: "error",
}

func main() {
	keyFile := flag.String("key", "", "public key, PEM")
	hash := flag.String("hash", "sha256", "hashAlgorithm of the policy")
	policyFile := flag.String("policies", "", "VerificationPolicies, a JSON list")
	source := flag.String("source", "https://example.com/definition", "where the definitions were resolved from")
	flag.Parse()
	ctx := logging.WithLogger(context.Background(), zap.NewNop().Sugar())
	policies, err := read(*keyFile, *hash, *policyFile)
	if err != nil {
		fail(err)
	}
	// As pkg/remote/resolution/resolver.go decodes what a resolver returned.
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	out := json.NewEncoder(os.Stdout)
	for _, file := range flag.Args() {
		found := judge(ctx, decoder, file, *source, policies)
		found.File = file
		if err := out.Encode(found); err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// read gives the policies of a file, or the one that a key makes.
func read(keyFile, hash, policyFile string) (policies []*v1alpha1.VerificationPolicy, err error) {
	if policyFile != "" {
		data, err := os.ReadFile(policyFile)
		if err != nil {
			return nil, err
		}
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.DisallowUnknownFields()
		err = decoder.Decode(&policies)
		return policies, err
	}
	if keyFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	return []*v1alpha1.VerificationPolicy{{
		ObjectMeta: metav1.ObjectMeta{Name: "publisher"},
		Spec: v1alpha1.VerificationPolicySpec{
			Resources:   []v1alpha1.ResourcePattern{{Pattern: ".*"}},
			Authorities: []v1alpha1.Authority{{Name: "publisher", Key: &v1alpha1.KeyRef{Data: string(pem), HashAlgorithm: v1alpha1.HashAlgorithm(hash)}}},
		},
	}}, nil
}

func judge(ctx context.Context, decoder runtime.Decoder, file, source string, policies []*v1alpha1.VerificationPolicy) verdict {
	data, err := os.ReadFile(file)
	if err != nil {
		return verdict{Error: err.Error()}
	}
	object, _, err := decoder.Decode(data, nil, nil)
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
	result := trustedresources.VerifyResource(ctx, of, nil, &v1.RefSource{URI: source}, policies)
	found.Outcome = outcomes[result.VerificationResultType]
	found.Verified = len(policies) > 0 && result.VerificationResultType == trustedresources.VerificationPass
	if result.Err != nil {
		found.Refusal = result.Err.Error()
	}
	// Last, since it merges a step template into the steps, and the checksum is another one then.
	if invalid := of.Validate(ctx); invalid != nil {
		found.Invalid = invalid.Error()
	}
	return found
}
