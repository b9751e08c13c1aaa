//! DSSE envelopes: a payload, its type, and one signature over both.
//!
//! Source: the DSSE specification, "Protocol" and "JSON envelope" (secure-systems-lab/dsse v1).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::{Deserialize, Serialize};

use crate::json::{self, JsonError};
use crate::limits;

/// Payload type of every envelope of the chain.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// Why an envelope is refused.
#[derive(Debug, thiserror::Error)]
pub enum DsseError {
    /// Not an envelope.
    #[error("DSSE envelope: {source}")]
    Parse {
        /// What is wrong with the JSON.
        #[source]
        source: JsonError,
    },
    /// Another payload type than asked for.
    #[error("DSSE payload type is {found:?}, expected {expected:?}")]
    PayloadType {
        /// The type asked for.
        expected: &'static str,
        /// The type found.
        found: String,
    },
    /// Not exactly one signature: with more, tools differ in which of them count.
    #[error("DSSE envelope has {found} signatures, expected exactly one")]
    SignatureCount {
        /// How many there are.
        found: usize,
    },
    /// Payload or signature is not base64.
    #[error("DSSE {field} is not base64")]
    Base64 {
        /// `payload` or `sig`.
        field: &'static str,
    },
}

#[derive(Deserialize)]
struct Json {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<JsonSignature>,
}

#[derive(Deserialize, Serialize)]
struct JsonSignature {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    keyid: String,
    sig: String,
}

#[derive(Serialize)]
struct JsonOut<'a> {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: &'a str,
    signatures: [JsonSignature; 1],
}

/// A DSSE envelope with exactly one signature. Parsing it proves nothing about the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The bytes that were signed, as they came.
    pub payload: Vec<u8>,
    /// What the payload is.
    pub payload_type: String,
    /// A hint by the signer about the key. Proves nothing.
    pub key_id: String,
    /// The signature over [`pae`].
    pub signature: Vec<u8>,
}

impl Envelope {
    /// Reads an envelope whose payload is an in-toto Statement.
    ///
    /// # Errors
    /// Every variant of [`DsseError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DsseError> {
        let envelope: Json = json::parse(bytes, limits::BUNDLE_BYTES).map_err(|source| DsseError::Parse { source })?;
        if envelope.payload_type != IN_TOTO {
            return Err(DsseError::PayloadType { expected: IN_TOTO, found: envelope.payload_type });
        }
        let [signature] = envelope.signatures.as_slice() else {
            return Err(DsseError::SignatureCount { found: envelope.signatures.len() });
        };
        Ok(Self {
            payload: base64(&envelope.payload, "payload")?,
            signature: base64(&signature.sig, "sig")?,
            key_id: signature.keyid.clone(),
            payload_type: envelope.payload_type,
        })
    }

    /// The bytes the signature covers.
    #[must_use]
    pub fn pae(&self) -> Vec<u8> {
        pae(&self.payload_type, &self.payload)
    }

    /// The envelope as JSON.
    ///
    /// # Errors
    /// [`DsseError::Parse`] if it cannot be written, which no input is known to cause.
    pub fn to_json(&self) -> Result<Vec<u8>, DsseError> {
        json::canonical(&JsonOut {
            payload: STANDARD.encode(&self.payload),
            payload_type: &self.payload_type,
            signatures: [JsonSignature { keyid: self.key_id.clone(), sig: STANDARD.encode(&self.signature) }],
        })
        .map_err(|source| DsseError::Parse { source })
    }
}

/// The specification allows the standard and the URL-safe alphabet.
fn base64(text: &str, field: &'static str) -> Result<Vec<u8>, DsseError> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).map_err(|_| DsseError::Base64 { field })
}

/// Pre-authentication encoding: `DSSEv1 SP LEN(type) SP type SP LEN(payload) SP payload`.
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pae_is_the_specifications_example() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn written_envelopes_are_read_back() {
        let envelope =
            Envelope { payload: b"{}".to_vec(), payload_type: IN_TOTO.into(), key_id: "k".into(), signature: vec![1, 2, 255] };
        assert_eq!(Envelope::parse(&envelope.to_json().unwrap()).unwrap(), envelope);
    }

    #[test]
    fn refuses_other_types_and_counts() {
        let with = |signatures: &str, payload_type: &str| {
            Envelope::parse(
                format!(r#"{{"payload":"e30=","payloadType":"{payload_type}","signatures":[{signatures}]}}"#).as_bytes(),
            )
        };
        assert!(with(r#"{"sig":"AA=="}"#, IN_TOTO).is_ok());
        assert!(matches!(with("", IN_TOTO), Err(DsseError::SignatureCount { found: 0 })));
        assert!(matches!(with(r#"{"sig":"AA=="},{"sig":"AA=="}"#, IN_TOTO), Err(DsseError::SignatureCount { found: 2 })));
        assert!(matches!(with(r#"{"sig":"AA=="}"#, "text/plain"), Err(DsseError::PayloadType { .. })));
        assert!(matches!(with(r#"{"sig":"A"}"#, IN_TOTO), Err(DsseError::Base64 { field: "sig" })));
    }
}
