//! Which agent speaks for which node: an administrator's word, never a kubelet's or an agent's own.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::Requirements;
use crate::digest::Digest;

/// An agent's id where Keylime is set up with `uuid = "hash_ek"`: SHA-256 of the endorsement key, so that it names a TPM and nothing that
/// could be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct AgentId(#[serde(serialize_with = "as_hex")] Digest);

fn as_hex<S: serde::Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&digest.hex())
}

impl AgentId {
    /// Reads 64 lower-case hexadecimal digits; `None` for anything else, such as a UUID, which an agent may choose.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        Digest::from_hex(text).ok().map(Self)
    }

    /// The id as the digest it is.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.0
    }

    /// The id of the TPM with this endorsement key: a PEM SubjectPublicKeyInfo with its final newline.
    #[must_use]
    pub fn of_endorsement_key(pem: &[u8]) -> Self {
        Self(Digest::of(pem))
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.hex())
    }
}

impl<'de> Deserialize<'de> for AgentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("an agent id must be hash_ek: 64 hexadecimal digits"))
    }
}

/// One binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Its own name.
    pub name: String,
    /// The node's name.
    pub node: String,
    /// The node's UID, or its providerID: a node made anew under the same name is another node.
    pub identity: NodeIdentity,
    /// The verifier that knows the agent, by the name it has here.
    pub verifier: String,
    /// The agent.
    pub agent: AgentId,
    /// What the node must attest.
    pub requirements: Requirements,
}

/// A node that needs no attestation, since what attests the others runs there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exemption {
    /// Name of the object that says so.
    pub name: String,
    /// The node's name.
    pub node: String,
    /// The node's UID or providerID.
    pub identity: NodeIdentity,
}

/// What a node is besides its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeIdentity {
    /// UID of the Node object.
    Uid(String),
    /// `spec.providerID`.
    ProviderId(String),
}

/// A node as the API server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its providerID.
    pub provider_id: Option<String>,
}

impl NodeIdentity {
    fn is(&self, node: &Node) -> bool {
        match self {
            Self::Uid(uid) => !uid.is_empty() && *uid == node.uid,
            Self::ProviderId(id) => !id.is_empty() && node.provider_id.as_ref() == Some(id),
        }
    }
}

/// Why a node has no agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unbound {
    /// No binding names it.
    #[error("no binding names the node")]
    Missing,
    /// A binding names a node of this name that is another one.
    #[error("binding {binding:?} is for another node of this name")]
    OtherNode {
        /// The binding.
        binding: String,
    },
    /// Several bindings name this node, or this agent.
    #[error("bindings {bindings:?} claim the same node or agent")]
    Ambiguous {
        /// All of them.
        bindings: Vec<String>,
    },
}

/// All bindings, by node.
#[derive(Debug, Default)]
pub struct Bindings {
    by_node: BTreeMap<String, Vec<Binding>>,
    by_agent: BTreeMap<AgentId, Vec<String>>,
    exemptions: Vec<Exemption>,
}

impl Bindings {
    /// Takes all bindings there are.
    #[must_use]
    pub fn new(bindings: impl IntoIterator<Item = Binding>) -> Self {
        let mut all = Self::default();
        for binding in bindings {
            all.by_agent.entry(binding.agent).or_default().push(binding.name.clone());
            all.by_node.entry(binding.node.clone()).or_default().push(binding);
        }
        all
    }

    /// Adds the nodes that need no attestation.
    #[must_use]
    pub fn with_exemptions(mut self, exemptions: impl IntoIterator<Item = Exemption>) -> Self {
        self.exemptions.extend(exemptions);
        self
    }

    /// Whether this node needs no attestation: it is exempt, and nothing binds it to an agent besides.
    #[must_use]
    pub fn is_exempt(&self, node: &Node) -> bool {
        let named = self.exemptions.iter().any(|exemption| exemption.node == node.name && exemption.identity.is(node));
        named && !self.by_node.contains_key(&node.name)
    }

    /// The one binding of a node.
    ///
    /// # Errors
    /// [`Unbound`]: none, one for another node of that name, or more than one for the node or its agent.
    pub fn of(&self, node: &Node) -> Result<&Binding, Unbound> {
        let binding = match self.by_node.get(&node.name).map(Vec::as_slice) {
            None | Some([]) => return Err(Unbound::Missing),
            Some([binding]) => binding,
            Some(several) => {
                return Err(Unbound::Ambiguous { bindings: several.iter().map(|binding| binding.name.clone()).collect() });
            }
        };
        match self.by_agent.get(&binding.agent) {
            Some(claims) if claims.len() > 1 => return Err(Unbound::Ambiguous { bindings: claims.clone() }),
            _ => {}
        }
        if binding.identity.is(node) { Ok(binding) } else { Err(Unbound::OtherNode { binding: binding.name.clone() }) }
    }
}
