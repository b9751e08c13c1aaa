//! SPDX elements out of inventory values.

use serde::Serialize;

use super::super::model::{Annotation, Checksum, ExternalRef, Package};
use super::super::{NOASSERTION, NONE};
use super::{IMAGE_ID, ImageSubject, Input, SubjectKind};
use crate::digest::Digest;
use crate::inventory::os_release::OsRelease;
use crate::inventory::root::{Installed, Note};
use crate::inventory::rootfs::{EntryKind, Record};
use crate::inventory::{Supplier, purl};
use crate::time::Timestamp;

/// A file, members in RFC 8785 order: millions of them are written, so no value tree in between.
#[derive(Serialize)]
pub(super) struct FileElement {
    #[serde(rename = "SPDXID")]
    spdx_id: String,
    checksums: [FileChecksum; 2],
    comment: String,
    #[serde(rename = "fileName")]
    file_name: String,
}

#[derive(Serialize)]
struct FileChecksum {
    algorithm: &'static str,
    #[serde(rename = "checksumValue")]
    value: String,
}

/// A relationship, members in RFC 8785 order.
#[derive(Serialize)]
pub(super) struct RelationshipElement<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) comment: Option<String>,
    #[serde(rename = "relatedSpdxElement")]
    pub(super) related: &'a str,
    #[serde(rename = "relationshipType")]
    pub(super) verb: &'static str,
    #[serde(rename = "spdxElementId")]
    pub(super) element: &'a str,
}

pub(super) fn file(record: &Record, number: u64) -> FileElement {
    let name = String::from_utf8_lossy(&record.path);
    let layer = record.layer + 1;
    let mut comment = match record.kind {
        EntryKind::Symlink => format!("120777 layer {layer} -> {}", String::from_utf8_lossy(&record.link)),
        _ => format!("{:o} layer {layer} size {}", 0o100_000 | record.mode, record.size),
    };
    if name.contains('\u{fffd}') {
        // Two names may look the same once broken UTF-8 is replaced; this tells them apart.
        comment.push_str(&format!(" path {}", hex::encode(&record.path)));
    }
    FileElement {
        spdx_id: file_id(number),
        checksums: [
            FileChecksum { algorithm: "SHA1", value: hex::encode(record.sha1) },
            FileChecksum { algorithm: "SHA256", value: hex::encode(record.sha256) },
        ],
        comment,
        file_name: format!("./{name}"),
    }
}

pub(super) fn file_id(number: u64) -> String {
    format!("SPDXRef-File-{number}")
}

/// `text` with everything an SPDX id may not hold replaced, cut.
fn id_part(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '-' }).collect()
}

pub(super) fn package_id(installed: &Installed) -> String {
    let mut unique = installed.purl.clone().into_bytes();
    unique.push(0);
    unique.extend_from_slice(&installed.location);
    let hash: String = Digest::of(&unique).hex().chars().take(16).collect();
    format!("SPDXRef-Package-{}-{}-{hash}", installed.package.kind, id_part(&installed.package.name))
}

pub(super) fn package(installed: &Installed, owns_files: bool) -> Package {
    let found = &installed.package;
    let name = match &found.namespace {
        Some(namespace) if found.kind == crate::inventory::Kind::Maven => format!("{namespace}:{}", found.name),
        Some(namespace) => format!("{namespace}/{}", found.name),
        None => found.name.clone(),
    };
    let mut package = Package::new(package_id(installed), name, NOASSERTION);
    package.version_info = (!found.version.is_empty()).then(|| found.version.clone());
    package.files_analyzed = Some(owns_files);
    package.supplier = Some(match &found.supplier {
        Some(Supplier::Organization(name)) => format!("Organization: {}", actor(name)),
        Some(Supplier::Maintainer(name)) => format!("Person: {}", actor(name)),
        None => NOASSERTION.to_owned(),
    });
    if let Some(text) = &found.licence {
        match declared(text) {
            Some(expression) => package.license_declared = Some(expression),
            None => package.license_comments = Some(format!("declared as: {text}")),
        }
    }
    package.homepage = found.homepage.clone().filter(|url| is_url(url));
    package.checksums = found.checksums.iter().map(|sum| Checksum::new(sum.algorithm, sum.value.clone())).collect();
    package.external_refs = vec![ExternalRef::purl(installed.purl.clone())];
    package.source_info =
        Some(format!("named by {} in layer {}", String::from_utf8_lossy(&installed.location), installed.layer + 1));
    package.primary_package_purpose = Some("LIBRARY".to_owned()).filter(|_| !found.kind.of_distribution());
    package
}

/// `Name <mail>` becomes SPDX's `Name (mail)`; parentheses have no other place there.
fn actor(text: &str) -> String {
    let plain = |part: &str| part.replace(['(', ')', '<', '>'], " ").split_whitespace().collect::<Vec<_>>().join(" ");
    match text.split_once('<') {
        Some((name, rest)) => {
            let mail = rest.split('>').next().unwrap_or_default().trim();
            let name = plain(name.trim().trim_matches('"'));
            let sound = mail.contains('@') && !mail.contains([' ', '(', ')', '<']);
            match (name.is_empty(), sound) {
                (false, true) => format!("{name} ({mail})"),
                (false, false) => name,
                (true, _) => plain(mail),
            }
        }
        None => plain(text),
    }
}

/// The text as an SPDX licence expression, if it is one of listed licences alone.
fn declared(text: &str) -> Option<String> {
    if text == NONE || text == NOASSERTION || text.contains("LicenseRef-") || text.contains("AdditionRef-") {
        return None;
    }
    ::spdx::Expression::parse(text).ok().map(|_| text.to_owned())
}

fn is_url(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        let name = host.split(['/', '?', '#']).next().unwrap_or_default();
        name.contains('.')
            && !name.contains('@')
            && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"{}|\\^`".contains(&byte))
    })
}

pub(super) fn annotation(created: Timestamp, comment: String) -> Annotation {
    Annotation {
        annotation_date: created.to_string(),
        annotation_type: "OTHER".to_owned(),
        annotator: "Tool: assay".to_owned(),
        comment,
        ..Annotation::default()
    }
}

pub(super) fn image(subject: &ImageSubject, notes: &[Note]) -> Package {
    let mut package = Package::new(IMAGE_ID, subject.name.clone(), NOASSERTION);
    package.version_info = Some(subject.digest.to_string());
    package.files_analyzed = Some(true);
    package.checksums = vec![Checksum::sha256(&subject.digest)];
    package.primary_package_purpose = Some("CONTAINER".to_owned());
    package.source_info = Some(
        match subject.kind {
            SubjectKind::Manifest => "the checksum is the digest of the image manifest",
            SubjectKind::Config => "the checksum is the digest of the image configuration; the archive holds no manifest",
            SubjectKind::Listing => "the checksum is the digest of the listing of a directory",
        }
        .to_owned(),
    );
    if subject.kind == SubjectKind::Manifest {
        let repository = subject.repository.as_deref();
        let name = repository.unwrap_or(&subject.name);
        package.external_refs =
            vec![ExternalRef::purl(purl::oci(name, &subject.digest, repository, subject.architecture.as_deref()))];
    }
    let mut annotations = Vec::new();
    for (index, layer) in subject.layers.iter().enumerate() {
        let mut comment = format!("layer {}:", index + 1);
        if let Some(digest) = layer.digest {
            comment.push_str(&format!(" {digest}"));
        }
        if let Some(diff_id) = layer.diff_id {
            comment.push_str(&format!(" diff {diff_id}"));
        }
        comment.push_str(&format!(" {}", layer.media_type));
        annotations.push(annotation(subject.created, comment));
    }
    for note in notes {
        annotations.push(annotation(subject.created, format!("not complete: {}: {}", note.path, note.text)));
    }
    package.annotations = annotations;
    package
}

pub(super) fn operating_system(os: &OsRelease) -> Package {
    let mut package = Package::new("SPDXRef-OperatingSystem", os.name.clone(), NOASSERTION);
    package.version_info = Some(os.version_id.clone()).filter(|version| !version.is_empty());
    // The JSON schema spells it with an underscore.
    package.primary_package_purpose = Some("OPERATING_SYSTEM".to_owned());
    package.source_info = Some(format!("os-release ID={}", os.id));
    package
}

pub(super) fn input_id(role: &str, number: usize) -> String {
    format!("SPDXRef-{role}-{}", number + 1)
}

pub(super) fn input(input: &Input, id: String) -> Package {
    let mut package = Package::new(id, input.name.clone(), NOASSERTION);
    package.version_info = Some(input.digest.to_string());
    package.checksums = vec![Checksum::sha256(&input.digest)];
    package.external_refs = vec![ExternalRef::purl(purl::oci(&input.name, &input.digest, Some(&input.name), None))];
    package
}
