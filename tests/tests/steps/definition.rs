//! A signed definition of two Tasks.

use assay_adapters::keys::SigningKey;
use assay_core::digest::{Digest, Sha1};
use assay_core::evidence::{DefinitionEvidence, SignatureDocument};
use assay_core::signature::SignatureFormat;
use assay_core::spdx::{Checksum, Document, File, Package, Relationship};
use assay_core::tekton;
use assay_core::time::Timestamp;
use serde_json::{Value, json};

pub(crate) const CLOSING_TASK: &str = "assay-image";
pub(crate) const BUILD_TASK: &str = "assay-command";
/// What the step images' digest is of.
pub(crate) const STEP_IMAGE: &[u8] = b"step image";

const FACTS: [&str; 8] = ["url", "commit", "ref", "tree-digest", "source-digest", "vsa", "vsa-digest", "image"];

fn image() -> String {
    format!("registry.example.com/assay/step@{}", Digest::of(STEP_IMAGE))
}

fn document(name: &str) -> Vec<u8> {
    let more: &[&str] = match name {
        CLOSING_TASK => &["definition-ref", "artifacts", "recipe", "tag", "CHAINS-GIT_URL", "CHAINS-GIT_COMMIT"],
        _ => &["outputs"],
    };
    let params: Vec<Value> = FACTS.iter().chain(more).map(|name| json!({"name": name})).collect();
    let task = json!({
        "apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": name},
        "spec": {"params": params, "volumes": [{"name": "assay", "emptyDir": {}}], "steps": [{"name": "step", "image": image()}]},
    });
    serde_json::to_vec(&task).unwrap()
}

/// What the cluster resolver gives: Tekton's checksum of the Task in its namespace.
pub(crate) fn checksum(name: &str) -> Digest {
    tekton::Document::parse(&document(name)).unwrap().checksums_in("assay-catalog").unwrap()[0]
}

pub(crate) fn uri(name: &str) -> String {
    format!("/apis/tekton.dev/v1/namespaces/assay-catalog/task/{name}")
}

fn sbom() -> Vec<u8> {
    let created = Timestamp::from_seconds(1_700_000_000).unwrap();
    let mut document_ = Document::new("definition", "https://assay.dev/spdx/definition/1", created);
    let mut step = Package::new("SPDXRef-Step", image(), "NOASSERTION");
    step.primary_package_purpose = Some("CONTAINER".into());
    document_.packages.push(step);
    for name in [CLOSING_TASK, BUILD_TASK] {
        let (id, file) = (format!("SPDXRef-Task-{name}"), format!("SPDXRef-File-{name}"));
        let mut task = Package::new(&id, format!("Task/{name}"), "NOASSERTION");
        task.checksums = vec![Checksum::sha256(&checksum(name))];
        task.source_info = Some(uri(name));
        document_.packages.push(task);
        document_.files.push(File {
            spdx_id: file.clone(),
            file_name: format!("./{name}.yaml"),
            checksums: vec![Checksum::new("SHA1", Sha1::hex_of(&document(name))), Checksum::sha256(&Digest::of(&document(name)))],
            ..File::default()
        });
        document_.relationships.push(Relationship::new("SPDXRef-DOCUMENT", "DESCRIBES", &id));
        document_.relationships.push(Relationship::new(&id, "CONTAINS", &file));
    }
    document_.to_bytes().unwrap()
}

pub(crate) fn signed(publisher: &SigningKey) -> DefinitionEvidence {
    let sbom = sbom();
    let signature = SignatureDocument {
        media_type: SignatureFormat::Bundle.media_type().into(),
        file_name: String::new(),
        bytes: publisher.sign_document(&sbom, SignatureFormat::Bundle).unwrap(),
    };
    DefinitionEvidence { documents: vec![document(CLOSING_TASK), document(BUILD_TASK)], sbom, signatures: vec![signature] }
}
