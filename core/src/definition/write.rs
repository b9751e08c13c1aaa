//! Writing a definition SBOM: which documents a definition consists of, how each is resolved, and which images its steps run.

use std::collections::BTreeSet;

use super::{DefinitionError, TektonDocument};
use crate::digest::{Digest, Sha1};
use crate::reference::Reference;
use crate::spdx::{Checksum, Document, File, Package, Relationship};
use crate::tekton;
use crate::time::Timestamp;

/// Where a resolver finds a document, and the digest that it then records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The cluster resolver: an object of this namespace. Its digest is the Trusted Resources checksum.
    Cluster {
        /// The namespace.
        namespace: String,
    },
    /// The http or hub resolver: the bytes at this URL. The digest is the SHA-256 of the bytes.
    Http {
        /// The URL.
        url: String,
    },
    /// The bundles resolver: an entry of this bundle.
    Bundle {
        /// The bundle's repository, as the resolver records it.
        uri: String,
        /// Digest of the bundle's manifest.
        manifest: Digest,
    },
}

/// A document of a definition, and where its resolver finds it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The document's bytes.
    pub bytes: &'a [u8],
    /// Where it is found.
    pub origin: &'a Origin,
}

/// Writes the definition SBOM of these documents: SPDX 2.3, RFC 8785 and a newline. The same documents always give the same bytes.
///
/// # Errors
/// [`DefinitionError::ParseDocument`] for what Tekton would not read, [`DefinitionError::NotPinned`] for an image by tag, and
/// [`DefinitionError::ParseSbom`] for an empty list or a document that stands there twice.
pub fn write(documents: &[Source<'_>]) -> Result<Vec<u8>, DefinitionError> {
    let wrong = |detail: String| DefinitionError::ParseSbom { detail };
    let mut digests: Vec<Digest> = documents.iter().map(|document| Digest::of(document.bytes)).collect();
    digests.sort();
    let all: Vec<String> = digests.iter().map(|digest| format!("{}\n", digest.hex())).collect();
    let namespace = format!("https://assay.dev/spdx/definition/{}", Digest::of(all.concat().as_bytes()).hex());
    let mut sbom = Document::new("definition", namespace, Timestamp::EPOCH);
    let mut images: BTreeSet<Reference> = BTreeSet::new();
    let mut names = BTreeSet::new();
    let mut sorted: Vec<(TektonDocument, &Source<'_>)> = Vec::with_capacity(documents.len());
    for source in documents {
        sorted.push((TektonDocument::parse(source.bytes)?, source));
    }
    sorted.sort_by(|(one, _), (other, _)| (&one.kind, &one.name).cmp(&(&other.kind, &other.name)));
    for (number, (document, source)) in sorted.into_iter().enumerate() {
        let label = format!("{}/{}", document.kind, document.name);
        if !names.insert(label.clone()) {
            return Err(wrong(format!("{label} stands there twice")));
        }
        let (uri, digest, path) = resolved(&document, source)?;
        let (id, file) = (format!("SPDXRef-Document-{number}"), format!("SPDXRef-File-{number}"));
        let mut package = Package::new(&id, &label, "NOASSERTION");
        package.checksums = vec![Checksum::sha256(&digest)];
        package.source_info = Some(uri);
        package.package_file_name = (!path.is_empty()).then_some(path);
        sbom.packages.push(package);
        sbom.files.push(File {
            spdx_id: file.clone(),
            file_name: format!("./{}/{}.yaml", document.kind.to_lowercase(), document.name),
            checksums: vec![Checksum::new("SHA1", Sha1::hex_of(source.bytes)), Checksum::sha256(&document.digest)],
            ..File::default()
        });
        sbom.relationships.push(Relationship::new("SPDXRef-DOCUMENT", "DESCRIBES", &id));
        sbom.relationships.push(Relationship::new(&id, "CONTAINS", &file));
        images.extend(document.images);
    }
    if names.is_empty() {
        return Err(wrong("no document to list".into()));
    }
    for (number, image) in images.iter().enumerate() {
        let mut package = Package::new(format!("SPDXRef-Image-{number}"), image.to_string(), "NOASSERTION");
        package.primary_package_purpose = Some("CONTAINER".into());
        sbom.packages.push(package);
    }
    sbom.to_bytes().map_err(|error| wrong(error.to_string()))
}

/// URI, digest and path as Tekton's resolver records them.
fn resolved(document: &TektonDocument, source: &Source<'_>) -> Result<(String, Digest, String), DefinitionError> {
    let kind = document.kind.to_lowercase();
    Ok(match source.origin {
        Origin::Cluster { namespace } => {
            let read = tekton::Document::parse(source.bytes)
                .map_err(|error| DefinitionError::ParseDocument { digest: document.digest, detail: error.to_string() })?;
            let uri = format!("{}{}/namespaces/{namespace}/{kind}/{}", super::CLUSTER_URI, read.api_version(), document.name);
            let [checksum, _] = read.checksums_in(namespace).ok_or_else(|| DefinitionError::ParseDocument {
                digest: document.digest,
                detail: format!("it is for namespace {:?}, not {namespace:?}", read.namespace()),
            })?;
            (uri, checksum, String::new())
        }
        Origin::Http { url } => (url.clone(), document.digest, String::new()),
        Origin::Bundle { uri, manifest } => (uri.clone(), *manifest, document.name.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::DefinitionSbom;

    const TASK: &str = "apiVersion: tekton.dev/v1\nkind: Task\nmetadata: {name: t, namespace: ci}\nspec: {steps: [{name: s, image: \"r.io/a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}]}\n";
    const PIPELINE: &str = "apiVersion: tekton.dev/v1\nkind: Pipeline\nmetadata: {name: p, namespace: ci}\nspec: {tasks: [{name: t, taskRef: {resolver: cluster, params: [{name: name, value: t}]}}]}\n";

    #[test]
    fn what_is_written_is_read_and_does_not_depend_on_the_order() {
        let cluster = Origin::Cluster { namespace: "ci".into() };
        let of = |texts: &[&str]| {
            let sources: Vec<_> = texts.iter().map(|text| Source { bytes: text.as_bytes(), origin: &cluster }).collect();
            write(&sources)
        };
        let bytes = of(&[TASK, PIPELINE]).unwrap();
        assert_eq!(bytes, of(&[PIPELINE, TASK]).unwrap());
        crate::spdx::validate(&Document::parse(&bytes).unwrap()).unwrap();
        let read = DefinitionSbom::parse(&bytes).unwrap();
        assert_eq!(read.rows.len(), 2);
        assert_eq!(read.rows[1].uri, "/apis/tekton.dev/v1/namespaces/ci/task/t");
        assert_eq!(read.rows[1].digest, tekton::checksum(TASK.as_bytes()).unwrap());
        assert_eq!(read.images.len(), 1);
        assert!(of(&[]).is_err());
        assert!(of(&[TASK, TASK]).unwrap_err().to_string().contains("twice"));
        assert!(matches!(
            of(&[&TASK.replace("@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", ":v1")]),
            Err(DefinitionError::NotPinned { .. })
        ));
    }
}
