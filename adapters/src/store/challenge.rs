//! `WWW-Authenticate` challenges of registries (RFC 9110 section 11.6.1; the distribution project's token authentication).

/// How a registry wants to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token from `realm`.
    Bearer {
        /// Address of the token service.
        realm: String,
        /// What the token service calls the registry.
        service: Option<String>,
    },
}

/// Longest header that is read, in bytes.
const LONGEST: usize = 8192;

impl Challenge {
    /// Reads one header, of which the first challenge that we know counts; Bearer wins, since Basic repeats the password.
    pub(super) fn parse(header: &str) -> Option<Self> {
        if header.len() > LONGEST {
            return None;
        }
        let mut basic = false;
        let mut rest = header.trim_start();
        while !rest.is_empty() {
            let (scheme, after) = rest.split_once([' ', ',']).unwrap_or((rest, ""));
            let (parameters, after) = parameters(after);
            if scheme.eq_ignore_ascii_case("bearer") {
                let find = |name: &str| {
                    parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
                };
                return Some(Self::Bearer { realm: find("realm")?, service: find("service") });
            }
            basic |= scheme.eq_ignore_ascii_case("basic");
            rest = after.trim_start_matches([' ', ',', '\t']);
        }
        basic.then_some(Self::Basic)
    }
}

/// `key=value` and `key="value"` pairs up to the next scheme, and what follows them.
fn parameters(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',', '\t']);
        let end = rest
            .find(|character: char| !character.is_ascii_alphanumeric() && character != '_' && character != '-')
            .unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let Some(value) = after.trim_start().strip_prefix('=').map(str::trim_start) else { return (found, rest) };
        if key.is_empty() {
            return (found, "");
        }
        if let Some(quoted) = value.strip_prefix('"') {
            let mut text = String::new();
            let mut characters = quoted.char_indices();
            let end = loop {
                match characters.next() {
                    Some((at, '"')) => break Some(at + 1),
                    Some((_, '\\')) => text.extend(characters.next().map(|(_, character)| character)),
                    Some((_, character)) => text.push(character),
                    None => break None,
                }
            };
            // An unterminated string: nothing in it can be trusted to be what was meant.
            let Some(after) = end.and_then(|end| quoted.get(end..)) else { return (found, "") };
            found.push((key.to_owned(), text));
            rest = after;
        } else {
            let end = value.find([',', ' ']).unwrap_or(value.len());
            let (text, after) = value.split_at(end);
            found.push((key.to_owned(), text.to_owned()));
            rest = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.into(), service: service.map(str::to_owned) })
    }

    #[test]
    fn challenges_of_known_registries_are_read() {
        let header =
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        assert_eq!(Challenge::parse(header), bearer("https://auth.docker.io/token", Some("registry.docker.io")));
        assert_eq!(Challenge::parse(r#"bearer realm = "https://a/t""#), bearer("https://a/t", None));
        assert_eq!(Challenge::parse(r#"Basic realm="x, Bearer realm=y""#), Some(Challenge::Basic));
        assert_eq!(Challenge::parse(r#"Basic realm="x", Bearer realm="https://a/t""#), bearer("https://a/t", None));
        assert_eq!(Challenge::parse(r#"Bearer realm="a\"b""#), bearer("a\"b", None));
        assert_eq!(Challenge::parse("Basic"), Some(Challenge::Basic));
    }

    #[test]
    fn what_is_no_challenge_is_none() {
        for header in ["", "Negotiate", "Bearer", r#"Bearer service="x""#, r#"Bearer realm="https://a"#, &"x".repeat(9000)] {
            assert_eq!(Challenge::parse(header), None, "{header}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_read_or_refused(header in ".{0,200}") {
            let _ = Challenge::parse(&header);
        }

        #[test]
        fn any_quoted_realm_comes_back(realm in "[ -~]{0,60}") {
            let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
            let header = format!("Bearer realm=\"{quoted}\",service=\"s\"");
            proptest::prop_assert_eq!(Challenge::parse(&header), bearer(&realm, Some("s")));
        }
    }
}
