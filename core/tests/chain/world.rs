//! A whole chain, made for tests: a commit, its SBOM, a gate, a build, an image, with every document signed by a key of its own.
//!
//! Each hook changes one document before it is signed, as somebody could who holds that key; [`Draft::tamper`] changes the evidence
//! after that, as somebody could who writes to the registry.

use assay_core::digest::{Digest, GitOid};
use assay_core::dsse::{Envelope, IN_TOTO};
use assay_core::evidence::{Attestation, Evidence, Sbom, SignatureDocument, SourceEvidence};
use assay_core::git::commit::write_commits;
use assay_core::git::{CommitObject, Mode, ObjectFormat};
use assay_core::policy::Policy;
use assay_core::provenance::local::{self, LocalBuild};
use assay_core::provenance::{BuildFacts, facts::Completion};
use assay_core::signature::ssh::{GIT_NAMESPACE, sshsig};
use assay_core::signature::{PublicKey, SignatureFormat, bundle};
use assay_core::spdx::source::{Carrier, Parts, Place, document};
use assay_core::spdx::{Checksum, Document, ExternalDocumentRef, Package, Relationship};
use assay_core::statement::ResourceDescriptor;
use assay_core::time::Timestamp;
use assay_core::tree::{Entry, SourceTree};
use assay_core::verdict::Verdict;
use assay_core::verify::{State, verify};
use assay_core::vsa::{self, Order, RunIdentity, Summary, Verifier};
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;
use serde_json::Value;

pub(crate) const URL: &str = "https://git.example.com/team/app.git";
pub(crate) const REF: &str = "refs/heads/main";
pub(crate) const REPOSITORY: &str = "registry.example.com/team/app";
pub(crate) const NOW: i64 = 1_790_000_000;

/// A signing key of a test. Deterministic, and worth nothing.
#[derive(Clone)]
pub(crate) struct Key(p256::ecdsa::SigningKey);

impl Key {
    pub(crate) fn new(seed: u8) -> Self {
        Self(p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey::from_spki(self.0.verifying_key().to_public_key_der().unwrap().as_bytes()).unwrap()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: p256::ecdsa::DerSignature = self.0.sign(message);
        signature.as_bytes().to_vec()
    }

    /// The commit object with an SSH signature over its bytes in a `gpgsig` header.
    pub(crate) fn sign_commit(&self, content: &[u8]) -> Vec<u8> {
        let signed = sshsig::bytes_to_sign(GIT_NAMESPACE, content);
        let armor = sshsig::render(&self.public(), GIT_NAMESPACE, &signed, &self.sign(&signed)).unwrap();
        let text = std::str::from_utf8(content).unwrap();
        let header = format!("gpgsig {}", armor.trim_end().replace('\n', "\n "));
        text.replacen("\n\n", &format!("\n{header}\n\n"), 1).into_bytes()
    }

    pub(crate) fn bundle_of_document(&self, document: &[u8]) -> Vec<u8> {
        bundle::render_message(&self.public(), &Digest::of(document), &self.sign(document)).unwrap()
    }

    pub(crate) fn envelope(&self, payload: &[u8]) -> Envelope {
        let mut envelope = Envelope {
            payload: payload.to_vec(),
            payload_type: IN_TOTO.into(),
            key_id: self.public().id(),
            signature: Vec::new(),
        };
        envelope.signature = self.sign(&envelope.pae());
        envelope
    }

    pub(crate) fn attestation(&self, payload: &[u8]) -> Attestation {
        Attestation { bytes: bundle::render_envelope(&self.public(), &self.envelope(payload)).unwrap() }
    }
}

pub(crate) fn author() -> Key {
    Key::new(1)
}
pub(crate) fn gate() -> Key {
    Key::new(2)
}
pub(crate) fn builder() -> Key {
    Key::new(3)
}
pub(crate) fn rebuilder(n: u8) -> Key {
    Key::new(10 + n)
}
pub(crate) fn stranger() -> Key {
    Key::new(99)
}

pub(crate) fn identity(name: &str, key: &Key) -> String {
    format!("{{name: {name}, keys: [{{key: {}}}]}}", Value::from(key.public().to_pem()))
}

pub(crate) fn policy_text() -> String {
    format!(
        "apiVersion: assay.dev/v1alpha1
kind: TrustPolicy
metadata: {{name: app}}
spec:
  mode: Enforce
  images: [{{host: registry.example.com, path: team/app}}]
  sources: {{repositories: [\"{URL}\"], refs: [refs/heads/main], binding: Provenance}}
  authors: {{threshold: 1, identities: [{}]}}
  gates: {{verifierId: https://gate.example.com, identities: [{}], policyDigests: [\"{}\"], maxAgeSeconds: 3600}}
  builders: [{{id: https://assay.dev/builder/local, buildTypes: [https://assay.dev/buildtypes/recipe/v1], identities: [{}]}}]
  inputs: {{images: [{{name: base, digest: \"{}\"}}], hermetic: Required, contents: NotRequired}}
  sbom: {{deniedPackages: [{{purl: \"pkg:npm/event-stream\"}}]}}
  forwardOnly: {{}}
",
        identity("alice", &author()),
        identity("gate", &gate()),
        gate_policy(),
        identity("builder", &builder()),
        base_image(),
    )
}

pub(crate) fn gate_policy() -> Digest {
    Digest::of(b"the policy the gate judged by")
}

pub(crate) fn base_image() -> Digest {
    Digest::of(b"the base image")
}

type Hook<T> = Box<dyn Fn(&mut T)>;

fn nothing<T>() -> Hook<T> {
    Box::new(|_| ())
}

/// What goes into a chain.
pub(crate) struct Draft {
    pub(crate) files: Vec<(&'static str, Vec<u8>)>,
    pub(crate) place: Hook<Place>,
    pub(crate) source_sbom: Hook<Document>,
    /// As `source_sbom`, in members that the model has no say in.
    pub(crate) source_json: Hook<Value>,
    pub(crate) source_signers: Vec<Key>,
    pub(crate) commit_parents: Option<Vec<GitOid>>,
    /// Signs the commit object itself, as git does with `gpg.format=ssh`.
    pub(crate) commit_signer: Option<Key>,
    pub(crate) facts: Hook<BuildFacts>,
    pub(crate) provenance: Hook<Value>,
    pub(crate) provenance_signer: Key,
    pub(crate) summary: Hook<Summary>,
    pub(crate) vsa: Hook<Value>,
    pub(crate) vsa_signer: Key,
    pub(crate) result_sbom: Hook<Document>,
    /// As `result_sbom`, in members that the model has no say in.
    pub(crate) result_json: Hook<Value>,
    pub(crate) tamper: Hook<Evidence>,
    pub(crate) policy: Hook<String>,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            files: vec![("assay.toml", b"[image]\n".to_vec()), ("src/main.c", b"int main(void){return 0;}\n".to_vec())],
            place: nothing(),
            source_sbom: nothing(),
            source_json: nothing(),
            source_signers: vec![author()],
            commit_parents: None,
            commit_signer: None,
            facts: nothing(),
            provenance: nothing(),
            provenance_signer: builder(),
            summary: nothing(),
            vsa: nothing(),
            vsa_signer: gate(),
            result_sbom: nothing(),
            result_json: nothing(),
            tamper: nothing(),
            policy: nothing(),
        }
    }
}

/// A chain whose documents are all there.
pub(crate) struct World {
    pub(crate) evidence: Evidence,
    pub(crate) policy: Policy,
    pub(crate) facts: BuildFacts,
    pub(crate) commit: GitOid,
    pub(crate) parent: GitOid,
    pub(crate) provenance: Vec<u8>,
    pub(crate) vsa: Vec<u8>,
    pub(crate) source_sbom: Vec<u8>,
    pub(crate) result_sbom: Vec<u8>,
}

fn commit_object(tree: &GitOid, parents: &[GitOid], time: i64, message: &str) -> Vec<u8> {
    let mut text = format!("tree {tree}\n");
    for parent in parents {
        text.push_str(&format!("parent {parent}\n"));
    }
    text.push_str(&format!("author A <a@example.com> {time} +0000\ncommitter A <a@example.com> {time} +0000\n\n{message}\n"));
    text.into_bytes()
}

pub(crate) fn oid_of_commit(content: &[u8]) -> GitOid {
    CommitObject::parse(content).unwrap().id
}

impl Draft {
    pub(crate) fn build(&self) -> World {
        let format = ObjectFormat::Sha1;
        let parent_content = commit_object(&GitOid::sha1_of("tree", b""), &[], NOW - 2_000, "first");
        let parent = oid_of_commit(&parent_content);
        let entries = self
            .files
            .iter()
            .map(|(path, bytes)| Entry::of_bytes(path.as_bytes().to_vec(), Mode::Regular, bytes, format))
            .collect();
        let tree = SourceTree::new(entries).unwrap();
        let mut place = Place {
            url: URL.parse().unwrap(),
            reference: REF.parse().unwrap(),
            parents: vec![parent],
            carrier: Carrier::Tree,
            created: Timestamp::from_seconds(NOW - 2_000).unwrap(),
        };
        (self.place)(&mut place);
        let mut sbom = document(&place, &tree, Parts::default());
        (self.source_sbom)(&mut sbom);
        let source_sbom = edit_document(&sbom, &self.source_json);
        let signatures: Vec<SignatureDocument> = self
            .source_signers
            .iter()
            .enumerate()
            .map(|(n, key)| SignatureDocument {
                media_type: SignatureFormat::Bundle.media_type().into(),
                file_name: format!("signer{n}.sigstore.json"),
                bytes: key.bundle_of_document(&source_sbom),
            })
            .collect();
        let mut carried = vec![(b".assay/source.spdx.json".to_vec(), format.oid("blob", &source_sbom))];
        carried.extend(signatures.iter().map(|signature| {
            (format!(".assay/signatures/{}", signature.file_name).into_bytes(), format.oid("blob", &signature.bytes))
        }));
        let root = tree.root(carried.iter().map(|(path, oid)| (path.as_slice(), *oid)), format).unwrap();
        let parents = self.commit_parents.clone().unwrap_or_else(|| vec![parent]);
        let commit_content = commit_object(&root, &parents, NOW - 1_000, "second");
        let commit_content = match &self.commit_signer {
            Some(key) => key.sign_commit(&commit_content),
            None => commit_content,
        };
        let commit = oid_of_commit(&commit_content);
        let source = SourceEvidence {
            sbom: source_sbom.clone(),
            commits: if parents == [parent] {
                write_commits([commit_content.as_slice(), parent_content.as_slice()])
            } else {
                write_commits([commit_content.as_slice()])
            },
            signatures,
        };
        let manifest = image_manifest();
        let image = Digest::of(&manifest);
        let source_digest = Digest::of(&source_sbom);
        let mut result = result_sbom(&image, &source_digest);
        (self.result_sbom)(&mut result);
        let result = edit_document(&result, &self.result_json);
        let mut summary = Summary {
            verifier: Verifier { id: "https://gate.example.com".into() },
            time_verified: Timestamp::from_seconds(NOW - 600).unwrap(),
            resource_uri: format!("git+{URL}"),
            policy: ResourceDescriptor::new("", "", gate_policy()),
            input_attestations: vec![ResourceDescriptor::new("source", "", source_digest)],
            verification_result: "PASSED".into(),
            verified_levels: [vsa::SOURCE_LEVEL_UNEVALUATED, "ASSAY_E1", "ASSAY_E2"].map(str::to_owned).to_vec(),
            slsa_version: "1.1".into(),
            order: Some(Order { reference: REF.into(), depth: 2 }),
            parents: Some(vec![parent]),
            run: Some(RunIdentity { namespace: String::new(), pipeline_run: String::new(), uid: "run-1".into() }),
            build_parameters: None,
            definition: None,
            cluster_rules: None,
        };
        (self.summary)(&mut summary);
        let subject = vsa::source_subject(URL, REF, &commit, &root, &tree.digest());
        let vsa = edit(&vsa::render(&[subject], &summary).unwrap(), &self.vsa);
        let vsa_envelope = self.vsa_signer.envelope(&vsa).to_json().unwrap();
        let mut facts = BuildFacts {
            builder_id: "https://assay.dev/builder/local".into(),
            build_type: local::BUILD_TYPE.into(),
            run: "run-1".into(),
            started: Timestamp::from_seconds(NOW - 590).unwrap(),
            url: URL.into(),
            commit,
            source_ref: Some(REF.into()),
            tree_digest: tree.digest(),
            source: source_digest,
            definition: None,
            vsa: Some(Digest::of(&vsa_envelope)),
            sboms: vec![Digest::of(&result)],
            repository: REPOSITORY.into(),
            complete: None,
            inputs: vec![ResourceDescriptor::new("base", "registry.example.com/base", base_image())],
            hermetic: Some(true),
            recipe: Some(("assay.toml".into(), Digest::of(b"[image]\n"))),
            tekton: None,
        };
        (self.facts)(&mut facts);
        let finished = Timestamp::from_seconds(NOW - 580).unwrap();
        let provenance = local::render(&LocalBuild { facts: &facts, image, format_version: 1, finished }).unwrap();
        let provenance = edit(&provenance, &self.provenance);
        let mut evidence = Evidence::of_image(REPOSITORY.parse().unwrap(), image, manifest);
        evidence.sources.push(source);
        evidence.sboms.push(Sbom { media_type: "application/spdx+json".into(), bytes: result.clone() });
        evidence.attestations.push(self.vsa_signer.attestation(&vsa));
        evidence.attestations.push(self.provenance_signer.attestation(&provenance));
        (self.tamper)(&mut evidence);
        let mut policy = policy_text();
        (self.policy)(&mut policy);
        let policy = Policy::parse(policy.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{policy}"));
        World { evidence, policy, facts, commit, parent, provenance, vsa, source_sbom, result_sbom: result }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.build().verdict()
    }
}

impl World {
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict_with(&State::first_look())
    }

    pub(crate) fn verdict_with(&self, state: &State<'_>) -> Verdict {
        verify(&self.evidence, &self.policy, state, now())
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_seconds(NOW).unwrap()
}

/// Changes a JSON document; the result is canonical again.
pub(crate) fn edit(bytes: &[u8], hook: &Hook<Value>) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(bytes).unwrap();
    hook(&mut value);
    assay_core::json::canonical(&value).unwrap()
}

/// Changes a document below its model; the bytes are canonical, with the newline that SBOMs end with.
pub(crate) fn edit_document(document: &Document, hook: &dyn Fn(&mut Value)) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(&document.to_bytes().unwrap()).unwrap();
    hook(&mut value);
    let mut bytes = assay_core::json::canonical(&value).unwrap();
    bytes.push(b'\n');
    bytes
}

fn image_manifest() -> Vec<u8> {
    let config = Digest::of(b"config");
    let layer = Digest::of(b"layer");
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":6}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{layer}","size":5}}]}}"#
    )
    .into_bytes()
}

fn result_sbom(image: &Digest, source: &Digest) -> Document {
    let namespace = format!("https://assay.dev/spdx/image/{}", image.hex());
    let mut document = Document::new("app", namespace, Timestamp::from_seconds(NOW - 1_000).unwrap());
    let mut root = Package::new("SPDXRef-Image", "app", "NOASSERTION");
    root.checksums = vec![Checksum::sha256(image)];
    document.packages.push(root);
    let mut package = Package::new("SPDXRef-Package-zlib", "zlib", "NOASSERTION");
    package.version_info = Some("1.3".into());
    package.external_refs.push(assay_core::spdx::ExternalRef::purl("pkg:deb/debian/zlib1g@1.3"));
    document.packages.push(package);
    document.external_document_refs.push(ExternalDocumentRef {
        external_document_id: "DocumentRef-source".into(),
        spdx_document: "https://assay.dev/spdx/source/x".into(),
        checksum: Checksum::sha256(source),
        ..ExternalDocumentRef::default()
    });
    document.relationships.push(Relationship::new("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image"));
    document.relationships.push(Relationship::new("SPDXRef-Image", "CONTAINS", "SPDXRef-Package-zlib"));
    document.relationships.push(Relationship::new("SPDXRef-Image", "GENERATED_FROM", "DocumentRef-source:SPDXRef-DOCUMENT"));
    document
}

/// The completion record for changed facts, as an honest `push` would write it.
pub(crate) fn completion(facts: &BuildFacts, image: &Digest) -> Digest {
    Completion {
        image: *image,
        repository: &facts.repository,
        url: &facts.url,
        commit: facts.commit,
        tree_digest: facts.tree_digest,
        source: facts.source,
        definition: facts.definition,
        vsa: facts.vsa,
        sboms: &facts.sboms,
    }
    .digest()
}
