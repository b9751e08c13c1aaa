//! Sigstore bundles v0.3: reading their frame, and writing those of managed keys.
//!
//! Source: sigstore/protobuf-specs, `sigstore_bundle.proto` and `sigstore_common.proto`, in their JSON form.

use aws_lc_rs::digest as algorithms;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::digest::Digest;
use crate::dsse::Envelope;
use crate::json;
use crate::limits;
use crate::signature::error::SignatureError;
use crate::signature::key::PublicKey;

/// Media type of a bundle v0.3.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// The frame of a bundle: what it holds and by what it is to be verified. Reading it proves nothing.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) material: Material,
    pub(crate) content: Content,
    /// Whether it holds log entries or signed timestamps.
    pub(crate) has_time_evidence: bool,
}

/// By what a bundle is to be verified.
#[derive(Debug)]
pub(crate) enum Material {
    /// A key the verifier knows. The hint proves nothing and is not used.
    ManagedKey,
    /// A certificate inside.
    Certificate,
}

/// What a bundle holds.
#[derive(Debug)]
pub(crate) enum Content {
    /// A signature over a document that lies elsewhere.
    Message { algorithm: Option<String>, digest: Vec<u8>, signature: Vec<u8> },
    /// A DSSE envelope, the very bytes that stand in the bundle.
    Envelope(Box<RawValue>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Json {
    media_type: String,
    verification_material: JsonMaterial,
    message_signature: Option<JsonMessageSignature>,
    dsse_envelope: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JsonMaterial {
    public_key: Option<JsonHint>,
    certificate: Option<Box<RawValue>>,
    #[serde(default)]
    tlog_entries: Vec<Box<RawValue>>,
    #[serde(default)]
    timestamp_verification_data: JsonTimestamps,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JsonTimestamps {
    #[serde(default)]
    rfc3161_timestamps: Vec<Box<RawValue>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct JsonHint {
    #[serde(default)]
    hint: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JsonMessageSignature {
    message_digest: Option<JsonDigest>,
    signature: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct JsonDigest {
    algorithm: String,
    digest: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonOut<'a> {
    media_type: &'static str,
    verification_material: JsonMaterialOut,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_signature: Option<JsonMessageSignature>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dsse_envelope: Option<&'a serde_json::Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonMaterialOut {
    public_key: JsonHint,
}

impl Bundle {
    /// Reads a bundle v0.3 of at most [`limits::BUNDLE_BYTES`]. Unknown fields are refused: readers differ in what they make of them.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, SignatureError> {
        let bundle: Json = json::parse(bytes, limits::BUNDLE_BYTES).map_err(|source| SignatureError::ParseBundle { source })?;
        if bundle.media_type != MEDIA_TYPE {
            return Err(SignatureError::BundleMediaType { expected: MEDIA_TYPE, found: bundle.media_type });
        }
        let times = &bundle.verification_material.timestamp_verification_data.rfc3161_timestamps;
        let entries = &bundle.verification_material.tlog_entries;
        for found in [times.len(), entries.len()] {
            if found > limits::SIGNATURES {
                return Err(SignatureError::TooMany { found, limit: limits::SIGNATURES });
            }
        }
        let material = match (&bundle.verification_material.public_key, &bundle.verification_material.certificate) {
            (Some(_), None) => Material::ManagedKey,
            (None, Some(_)) => Material::Certificate,
            _ => return Err(SignatureError::VerificationMaterial),
        };
        let has_time_evidence = !times.is_empty() || !entries.is_empty();
        let content = match (bundle.message_signature, bundle.dsse_envelope) {
            (Some(message), None) => {
                let (algorithm, digest) = match message.message_digest {
                    Some(digest) => (Some(digest.algorithm), decode(&digest.digest, "messageDigest")?),
                    None => (None, Vec::new()),
                };
                Content::Message { algorithm, digest, signature: decode(&message.signature, "messageSignature")? }
            }
            (None, Some(envelope)) => Content::Envelope(envelope),
            _ => return Err(SignatureError::BundleContent { expected: "messageSignature or dsseEnvelope" }),
        };
        Ok(Self { material, content, has_time_evidence })
    }

    /// Whether `bytes` are meant as a bundle rather than as a bare envelope.
    pub(crate) fn is_meant_by(bytes: &[u8]) -> Result<bool, SignatureError> {
        #[derive(Deserialize)]
        struct Probe {
            #[serde(rename = "mediaType")]
            media_type: Option<serde::de::IgnoredAny>,
            #[serde(rename = "verificationMaterial")]
            material: Option<serde::de::IgnoredAny>,
        }
        let probe: Probe = json::parse(bytes, limits::BUNDLE_BYTES).map_err(|source| SignatureError::ParseBundle { source })?;
        Ok(probe.media_type.is_some() || probe.material.is_some())
    }
}

/// Checks that a bundle's digest, if it names one, is the document's.
pub(crate) fn check_message_digest(document: &[u8], algorithm: Option<&str>, digest: &[u8]) -> Result<(), SignatureError> {
    let Some(name) = algorithm else { return Ok(()) };
    let algorithm = match name {
        "SHA2_256" => &algorithms::SHA256,
        "SHA2_384" => &algorithms::SHA384,
        "SHA2_512" => &algorithms::SHA512,
        _ => return Err(SignatureError::HashAlgorithm { found: name.to_owned() }),
    };
    let expected = algorithms::digest(algorithm, document);
    if expected.as_ref() != digest {
        return Err(SignatureError::MessageDigest {
            algorithm: name.to_owned(),
            expected: hex::encode(expected),
            found: hex::encode(digest),
        });
    }
    Ok(())
}

/// RFC 8785 bytes of a bundle with a detached signature of a managed key over the document of this digest.
///
/// # Errors
/// [`SignatureError::ParseBundle`] if it cannot be written, which no input is known to cause.
pub fn render_message(key: &PublicKey, document: &Digest, signature: &[u8]) -> Result<Vec<u8>, SignatureError> {
    render(
        key,
        Some(JsonMessageSignature {
            message_digest: Some(JsonDigest { algorithm: "SHA2_256".to_owned(), digest: STANDARD.encode(document.as_bytes()) }),
            signature: STANDARD.encode(signature),
        }),
        None,
    )
}

/// RFC 8785 bytes of a bundle with an envelope signed by a managed key. The envelope stands in it as [`Envelope::to_json`] writes it.
///
/// # Errors
/// [`SignatureError::Envelope`] or [`SignatureError::ParseBundle`] if it cannot be written, which no input is known to cause.
pub fn render_envelope(key: &PublicKey, envelope: &Envelope) -> Result<Vec<u8>, SignatureError> {
    let envelope: serde_json::Value =
        json::parse(&envelope.to_json()?, limits::BUNDLE_BYTES).map_err(|source| SignatureError::ParseBundle { source })?;
    render(key, None, Some(&envelope))
}

fn render(
    key: &PublicKey,
    message_signature: Option<JsonMessageSignature>,
    dsse_envelope: Option<&serde_json::Value>,
) -> Result<Vec<u8>, SignatureError> {
    json::canonical(&JsonOut {
        media_type: MEDIA_TYPE,
        verification_material: JsonMaterialOut { public_key: JsonHint { hint: hint(key) } },
        message_signature,
        dsse_envelope,
    })
    .map_err(|source| SignatureError::ParseBundle { source })
}

/// What cosign and Tekton Chains write as hint: the SHA-256 of the SubjectPublicKeyInfo in base64.
fn hint(key: &PublicKey) -> String {
    STANDARD.encode(Digest::of(key.spki()).as_bytes())
}

fn decode(text: &str, field: &'static str) -> Result<Vec<u8>, SignatureError> {
    STANDARD.decode(text).map_err(|_| SignatureError::Base64 { field })
}
