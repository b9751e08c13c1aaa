//! Allowed-signers files: which SSH keys speak for whom, in which namespaces, and when.
//!
//! Source: ssh-keygen(1), "ALLOWED SIGNERS". Stricter than OpenSSH where that leaves room: names are exact, and times are in UTC.

use crate::limits;
use crate::signature::identity::{Identity, TrustedKey};
use crate::signature::key::PublicKey;
use crate::signature::ssh::SshKeyError;
use crate::time::Timestamp;

/// Most lines of a file that are read.
const LINES: usize = 10_000;

/// Why an allowed-signers file is refused. Lines count from 1.
#[derive(Debug, thiserror::Error)]
pub enum AllowedSignersError {
    /// Too many bytes, or not UTF-8.
    #[error("allowed-signers file is not text of at most {limit} bytes")]
    NotText {
        /// Largest size, in bytes.
        limit: usize,
    },
    /// Too many lines, or one that is too long.
    #[error("allowed-signers file, line {line}: more than {LINES} lines, or a line that is too long")]
    TooLong {
        /// Number of the line.
        line: usize,
    },
    /// A line without principals and a key, or with an open quote.
    #[error("allowed-signers file, line {line}: expected PRINCIPALS [OPTIONS] KEYTYPE KEY")]
    Syntax {
        /// Number of the line.
        line: usize,
    },
    /// A principal that is a pattern: thresholds count names, and a pattern is none.
    #[error("allowed-signers file, line {line}: principal {principal:?} is a pattern; write out the names")]
    Pattern {
        /// Number of the line.
        line: usize,
        /// The principal.
        principal: String,
    },
    /// A certificate authority: certificates of SSH keys are not verified.
    #[error("allowed-signers file, line {line}: cert-authority is not supported; list the keys themselves")]
    CertificateAuthority {
        /// Number of the line.
        line: usize,
    },
    /// An option that is not known, or has no sound value.
    #[error("allowed-signers file, line {line}: option {option:?} is not understood")]
    Option {
        /// Number of the line.
        line: usize,
        /// The option.
        option: String,
    },
    /// A time in whatever zone the machine is in.
    #[error("allowed-signers file, line {line}: time {time:?} must be YYYYMMDD[HHMM[SS]] followed by Z")]
    Time {
        /// Number of the line.
        line: usize,
        /// The time.
        time: String,
    },
    /// A key that is refused.
    #[error("allowed-signers file, line {line}: {source}")]
    Key {
        /// Number of the line.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: SshKeyError,
    },
}

/// Reads the identities of an allowed-signers file whose keys count in `namespace`. One identity per principal.
///
/// # Errors
/// Every variant of [`AllowedSignersError`]. A line that is not understood refuses the file, lest a limit be overlooked.
pub fn parse(bytes: &[u8], namespace: &str) -> Result<Vec<Identity>, AllowedSignersError> {
    let not_text = || AllowedSignersError::NotText { limit: limits::DOCUMENT_BYTES };
    if bytes.len() > limits::DOCUMENT_BYTES {
        return Err(not_text());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| not_text())?;
    let mut identities: Vec<Identity> = Vec::new();
    for (index, content) in text.lines().enumerate() {
        let line = index + 1;
        if line > LINES || content.len() > limits::SSH_LINE_BYTES {
            return Err(AllowedSignersError::TooLong { line });
        }
        let content = content.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let (principals, key) = read_line(content, line, namespace)?;
        let Some(key) = key else { continue };
        for name in principals {
            match identities.iter_mut().find(|identity| identity.name == name) {
                Some(identity) => identity.keys.push(key.clone()),
                None => identities.push(Identity { name, keys: vec![key.clone()], keyless: Vec::new() }),
            }
        }
    }
    Ok(identities)
}

/// The principals of one line, and its key if it counts in the namespace.
fn read_line(content: &str, line: usize, namespace: &str) -> Result<(Vec<String>, Option<TrustedKey>), AllowedSignersError> {
    let syntax = || AllowedSignersError::Syntax { line };
    let (principals, rest) = word(content).ok_or_else(syntax)?;
    let principals: Vec<String> = principals.replace('"', "").split(',').map(str::to_owned).collect();
    for principal in &principals {
        if principal.is_empty() || principal.contains(['*', '?', '!']) {
            return Err(AllowedSignersError::Pattern { line, principal: principal.clone() });
        }
    }
    let (first, after) = word(rest).ok_or_else(syntax)?;
    let (options, key) = if is_key_type(first) { ("", rest) } else { (first, after) };
    let mut trusted = (None, None);
    let mut counts = true;
    for option in split_options(options) {
        let unknown = || AllowedSignersError::Option { line, option: option.to_owned() };
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).ok_or_else(unknown)?),
            None => (option, ""),
        };
        let time = || time(value).ok_or_else(|| AllowedSignersError::Time { line, time: value.to_owned() });
        match name.to_ascii_lowercase().as_str() {
            "cert-authority" => return Err(AllowedSignersError::CertificateAuthority { line }),
            "namespaces" if value.contains(['*', '?', '!']) || value.is_empty() => return Err(unknown()),
            "namespaces" => counts = value.split(',').any(|allowed| allowed == namespace),
            "valid-after" => trusted.0 = Some(time()?),
            "valid-before" => trusted.1 = Some(time()?),
            _ => return Err(unknown()),
        }
    }
    let (kind, after) = word(key).ok_or_else(syntax)?;
    let (body, _) = word(after).ok_or_else(syntax)?;
    let key = PublicKey::from_openssh(&format!("{kind} {body}")).map_err(|source| AllowedSignersError::Key { line, source })?;
    Ok((principals, counts.then_some(TrustedKey { key, not_before: trusted.0, not_after: trusted.1 })))
}

fn is_key_type(word: &str) -> bool {
    ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|prefix| word.starts_with(prefix))
}

/// The first word and what follows it. Blanks between quotes belong to a word.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let mut quoted = false;
    let end = text
        .char_indices()
        .find(|(_, character)| {
            quoted ^= *character == '"';
            !quoted && character.is_ascii_whitespace()
        })
        .map_or(text.len(), |(index, _)| index);
    let (word, rest) = text.split_at_checked(end)?;
    (!word.is_empty() && word.matches('"').count() % 2 == 0).then_some((word, rest))
}

/// Options are separated by commas outside of quotes.
fn split_options(options: &str) -> Vec<&str> {
    let mut quoted = false;
    options
        .split(move |character| {
            quoted ^= character == '"';
            !quoted && character == ','
        })
        .filter(|option| !option.is_empty())
        .collect()
}

/// `YYYYMMDD[HHMM[SS]]Z`
fn time(text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix(['Z', 'z'])?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = match digits.len() {
        8 => format!("{digits}000000"),
        12 => format!("{digits}00"),
        14 => digits.to_owned(),
        _ => return None,
    };
    let part = |from: usize, to: usize| digits.get(from..to);
    format!("{}-{}-{}T{}:{}:{}Z", part(0, 4)?, part(4, 6)?, part(6, 8)?, part(8, 10)?, part(10, 12)?, part(12, 14)?).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJKHHtFPSPdVs3IvHR8IBzBr1+gmNSPp4nZUJ5iGFKxx";

    fn read(text: &str) -> Result<Vec<Identity>, AllowedSignersError> {
        parse(text.as_bytes(), "sbom@assay.dev")
    }

    #[test]
    fn principals_become_identities() {
        let text = format!(
            "# who\n\nalice@example.com,bob {KEY} comment here\n\"carol\" namespaces=\"git,sbom@assay.dev\" {KEY}\nbob {KEY}\n"
        );
        let identities = read(&text).unwrap();
        let names: Vec<_> = identities.iter().map(|identity| (identity.name.as_str(), identity.keys.len())).collect();
        assert_eq!(names, [("alice@example.com", 1), ("bob", 2), ("carol", 1)]);
    }

    #[test]
    fn keys_of_other_namespaces_do_not_count() {
        assert!(read(&format!("alice namespaces=\"git\" {KEY}")).unwrap().is_empty());
        assert!(read(&format!("alice namespaces=\"xsbom@assay.dev\" {KEY}")).unwrap().is_empty());
    }

    #[test]
    fn validity_is_read_in_utc_alone() {
        let text = format!("alice valid-after=\"20260102Z\",valid-before=\"20260103040506Z\" {KEY}");
        let identities = read(&text).unwrap();
        let key = &identities[0].keys[0];
        assert_eq!(key.not_before.unwrap().to_string(), "2026-01-02T00:00:00Z");
        assert_eq!(key.not_after.unwrap().to_string(), "2026-01-03T04:05:06Z");
        for wrong in ["20260102", "20261302Z", "2026Z", "2026-01-02Z", "Z", ""] {
            let text = format!("alice valid-after=\"{wrong}\" {KEY}");
            assert!(matches!(read(&text), Err(AllowedSignersError::Time { line: 1, .. })), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_understood_refuses_the_file() {
        let refused = |line: &str| read(line).unwrap_err().to_string();
        assert!(refused(&format!("*@example.com {KEY}")).contains("pattern"));
        assert!(refused(&format!("alice,!bob {KEY}")).contains("pattern"));
        assert!(refused(&format!("alice cert-authority {KEY}")).contains("cert-authority"));
        assert!(refused(&format!("alice no-touch {KEY}")).contains("not understood"));
        assert!(refused(&format!("alice namespaces=\"*\" {KEY}")).contains("not understood"));
        assert!(refused(&format!("alice namespaces=git {KEY}")).contains("not understood"));
        assert!(refused("alice").contains("expected"));
        assert!(refused("alice ssh-ed25519").contains("expected"));
        assert!(refused(&format!("\"alice {KEY}")).contains("expected"));
        assert!(refused("alice ssh-ed25519 AAAA").contains("not an SSH public key"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(alice|\"|,|=|!|\\*| |ssh-ed25519|AAAA|valid-after|Z|[ -~]|\\n|ü){0,40}") {
            let _ = read(&text);
        }
    }
}
