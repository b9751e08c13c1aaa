//! The catalog's Pipeline and Tasks as this test's namespace has them, and the signed definition of them.

use std::path::Path;

use anyhow::{Context as _, Result};
use assay_adapters::keys::SigningKey;
use assay_core::digest::{Digest, Sha1};
use assay_core::evidence::{DefinitionEvidence, SignatureDocument};
use assay_core::signature::SignatureFormat;
use assay_core::spdx::{Checksum, Document, File, Package, Relationship};
use assay_core::tekton;
use assay_core::time::Timestamp;

/// One document of the definition.
pub(crate) struct Entry {
    pub(crate) kind: &'static str,
    pub(crate) name: &'static str,
    pub(crate) text: String,
}

impl Entry {
    /// Reads it from a catalog and puts it into a namespace, with a namespace's Tasks and this build command for a shell.
    pub(crate) fn read(
        catalog: &Path,
        kind: &'static str,
        name: &'static str,
        namespace: &str,
        builder: &str,
        command: &str,
    ) -> Result<Self> {
        let file = catalog.join(format!("{}/{name}/0.1/{name}.yaml", kind.to_lowercase()));
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let placeholder = format!("registry.example.com/assay/builder@sha256:{}", "0".repeat(64));
        let text = text
            .replace("namespace, value: assay-catalog", &format!("namespace, value: {namespace}"))
            .replacen("metadata:\n", &format!("metadata:\n  namespace: {namespace}\n"), 1)
            .replace(&placeholder, builder)
            .replace("command: [make]", "command: [sh, -c]")
            .replace("args: [-j2, all]", &format!("args: ['{command}']"));
        Ok(Self { kind, name, text })
    }

    /// The digest that the cluster resolver gives: Tekton's checksum.
    fn checksum(&self) -> Result<Digest> {
        tekton::checksum(self.text.as_bytes()).with_context(|| format!("checksum of {}", self.name))
    }

    /// The images of the steps, by digest.
    fn images(&self) -> Vec<String> {
        self.text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("image: "))
            .map(str::to_owned)
            .filter(|image| image.contains("@sha256:"))
            .collect()
    }
}

/// All images of a definition, each once.
pub(crate) fn images(entries: &[Entry]) -> Vec<String> {
    let all: std::collections::BTreeSet<_> = entries.iter().flat_map(Entry::images).collect();
    all.into_iter().collect()
}

/// The definition SBOM over these documents, signed by their publisher.
pub(crate) fn signed(entries: &[Entry], namespace: &str, publisher: &SigningKey) -> Result<DefinitionEvidence> {
    let created = Timestamp::from_seconds(1_700_000_000).context("a time")?;
    let mut sbom = Document::new("definition", "https://assay.dev/spdx/definition/1", created);
    for (number, image) in images(entries).into_iter().enumerate() {
        let mut package = Package::new(format!("SPDXRef-Image-{number}"), image, "NOASSERTION");
        package.primary_package_purpose = Some("CONTAINER".into());
        sbom.packages.push(package);
    }
    for entry in entries {
        let (id, file) =
            (format!("SPDXRef-{}-{}", entry.kind, entry.name), format!("SPDXRef-File-{}-{}", entry.kind, entry.name));
        let mut package = Package::new(&id, format!("{}/{}", entry.kind, entry.name), "NOASSERTION");
        package.checksums = vec![Checksum::sha256(&entry.checksum()?)];
        let kind = entry.kind.to_lowercase();
        package.source_info = Some(format!("/apis/tekton.dev/v1/namespaces/{namespace}/{kind}/{}", entry.name));
        sbom.packages.push(package);
        sbom.files.push(File {
            spdx_id: file.clone(),
            file_name: format!("./{}.yaml", entry.name),
            checksums: vec![
                Checksum::new("SHA1", Sha1::hex_of(entry.text.as_bytes())),
                Checksum::sha256(&Digest::of(entry.text.as_bytes())),
            ],
            ..File::default()
        });
        sbom.relationships.push(Relationship::new("SPDXRef-DOCUMENT", "DESCRIBES", &id));
        sbom.relationships.push(Relationship::new(&id, "CONTAINS", &file));
    }
    let sbom = sbom.to_bytes()?;
    let signature = SignatureDocument {
        media_type: SignatureFormat::Bundle.media_type().into(),
        file_name: String::new(),
        bytes: publisher.sign_document(&sbom, SignatureFormat::Bundle)?,
    };
    let documents = entries.iter().map(|entry| entry.text.clone().into_bytes()).collect();
    Ok(DefinitionEvidence { documents, sbom, signatures: vec![signature] })
}
