//! The controller's own certificate authority: what the Secret holds, and what has to be issued next.
//!
//! Nothing here has a clock or talks to anybody: [`Material::advance`] says from what is held, and the time, what to hold next.
//!
//! The authority lives for a year. Thirty days before it ends its successor is made and, from then on, trusted beside it; ten days
//! later the successor issues the certificates. Every API server knows it by then, so no request is lost.

use std::net::IpAddr;

use assay_core::time::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use x509_cert::Certificate;
use x509_cert::der::DecodePem;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Seconds of a day.
const DAY: i64 = 86_400;
/// Life of an authority, in days.
const AUTHORITY_DAYS: i64 = 365;
/// Days before its end at which an authority's successor is made, so that it becomes known.
const ANNOUNCE_DAYS: i64 = 30;
/// Days before its end at which the successor takes over.
const HAND_OVER_DAYS: i64 = 20;
/// Life of a served certificate, in days.
const LEAF_DAYS: i64 = 30;
/// Days before its end at which a served certificate is replaced.
const RENEW_DAYS: i64 = 10;

/// Why nothing could be issued, or what is held cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A certificate could not be made.
    #[error("issue {what}: {source}")]
    Issue {
        /// What was to be made.
        what: &'static str,
        /// What the library says.
        #[source]
        source: rcgen::Error,
    },
    /// A certificate that is held cannot be read.
    #[error("{what}: {source}")]
    ParseCertificate {
        /// Which one.
        what: &'static str,
        /// What the parser says.
        #[source]
        source: x509_cert::der::Error,
    },
    /// The time is outside what certificates can say.
    #[error("{seconds} s since 1970 is no date")]
    Date {
        /// Seconds since the epoch.
        seconds: i64,
    },
}

/// A certificate with its private key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key, PKCS#8.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// What all replicas share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Material {
    /// The authority that issued `leaf`.
    pub authority: Pair,
    /// Its successor, which is trusted already.
    pub next: Option<Pair>,
    /// The authority before, trusted until it ends.
    pub previous: Option<String>,
    /// The certificate that is served.
    pub leaf: Pair,
}

impl Material {
    /// Certificates of every authority that clients have to trust.
    #[must_use]
    pub fn bundle(&self) -> String {
        let others = self.next.as_ref().map(|next| next.certificate.as_str()).into_iter().chain(self.previous.as_deref());
        std::iter::once(self.authority.certificate.as_str()).chain(others).map(|pem| format!("{}\n", pem.trim_end())).collect()
    }

    /// What to hold at `now`, for a server with these names; `None` if that is what is held.
    ///
    /// What cannot be read is not mended but an error: replacing an authority at once breaks every client that knows the old one.
    ///
    /// # Errors
    /// Every variant of [`AuthorityError`].
    pub fn advance(held: Option<Self>, names: &[String], now: Timestamp) -> Result<Option<Self>, AuthorityError> {
        let now = now.seconds();
        let Some(mut material) = held else {
            let authority = issue_authority(now)?;
            let leaf = issue_leaf(&authority, names, now)?;
            return Ok(Some(Self { authority, next: None, previous: None, leaf }));
        };
        let mut changed = false;
        let left = ends(&material.authority.certificate, "authority")? - now;
        if left < ANNOUNCE_DAYS * DAY && material.next.is_none() {
            material.next = Some(issue_authority(now)?);
            changed = true;
        }
        if left < HAND_OVER_DAYS * DAY
            && let Some(next) = material.next.take()
        {
            // Even where the announcement was missed: this one is about to end.
            material.previous = Some(std::mem::replace(&mut material.authority, next).certificate);
            material.leaf = issue_leaf(&material.authority, names, now)?;
            changed = true;
        }
        if let Some(previous) = &material.previous
            && ends(previous, "previous authority")? <= now
        {
            material.previous = None;
            changed = true;
        }
        let leaf = parse(&material.leaf.certificate, "served certificate")?;
        if not_after(&leaf) - now < RENEW_DAYS * DAY || !has_names(&leaf, names) {
            material.leaf = issue_leaf(&material.authority, names, now)?;
            changed = true;
        }
        Ok(changed.then_some(material))
    }
}

fn parse(pem: &str, what: &'static str) -> Result<Certificate, AuthorityError> {
    Certificate::from_pem(pem.as_bytes()).map_err(|source| AuthorityError::ParseCertificate { what, source })
}

fn not_after(certificate: &Certificate) -> i64 {
    let seconds = certificate.tbs_certificate.validity.not_after.to_unix_duration().as_secs();
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

fn ends(pem: &str, what: &'static str) -> Result<i64, AuthorityError> {
    Ok(not_after(&parse(pem, what)?))
}

/// Whether the certificate is for exactly these names.
fn has_names(certificate: &Certificate, names: &[String]) -> bool {
    let Ok(Some((_, SubjectAltName(found)))) = certificate.tbs_certificate.get::<SubjectAltName>() else { return false };
    let mut found: Vec<String> = found
        .iter()
        .map(|name| match name {
            GeneralName::DnsName(name) => name.to_string(),
            GeneralName::IpAddress(octets) => match *octets.as_bytes() {
                [a, b, c, d] => IpAddr::from([a, b, c, d]).to_string(),
                ref bytes => <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::from(bytes).to_string()).unwrap_or_default(),
            },
            _ => String::new(),
        })
        .collect();
    let mut wanted = names.to_vec();
    found.sort_unstable();
    wanted.sort_unstable();
    found == wanted
}

/// From the day before `now`, for clocks that differ, to `days` after.
fn params(names: &[String], now: i64, days: i64, what: &'static str) -> Result<CertificateParams, AuthorityError> {
    let date = |seconds: i64| {
        let wrong = AuthorityError::Date { seconds };
        let date = jiff::Timestamp::from_second(seconds).map(|time| time.to_zoned(jiff::tz::TimeZone::UTC).date());
        match date.map(|date| (date.year(), u8::try_from(date.month()), u8::try_from(date.day()))) {
            Ok((year, Ok(month), Ok(day))) => Ok(date_time_ymd(year.into(), month, day)),
            _ => Err(wrong),
        }
    };
    let mut params = CertificateParams::new(names).map_err(|source| AuthorityError::Issue { what, source })?;
    params.not_before = date(now - DAY)?;
    params.not_after = date(now + days * DAY)?;
    Ok(params)
}

/// A name of its own for each authority, made from its key: clients find the issuer by it.
fn authority_name(key: &KeyPair) -> DistinguishedName {
    let hex: String = assay_core::digest::Digest::of(key.public_key_raw()).hex().chars().take(16).collect();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, format!("assay webhook authority {hex}"));
    name
}

fn issue_authority(now: i64) -> Result<Pair, AuthorityError> {
    let what = "an authority";
    let issue = |source| AuthorityError::Issue { what, source };
    let key = KeyPair::generate().map_err(issue)?;
    let mut params = params(&[], now, AUTHORITY_DAYS, what)?;
    params.distinguished_name = authority_name(&key);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let certificate = params.self_signed(&key).map_err(issue)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn issue_leaf(authority: &Pair, names: &[String], now: i64) -> Result<Pair, AuthorityError> {
    let what = "a server certificate";
    let issue = |source| AuthorityError::Issue { what, source };
    let issuer_key = KeyPair::from_pem(&authority.key).map_err(issue)?;
    // Of its issuer a certificate holds the name and the key's identifier, and both follow from the key.
    let mut issuer = CertificateParams::default();
    issuer.distinguished_name = authority_name(&issuer_key);
    let issuer = Issuer::new(issuer, issuer_key);
    let key = KeyPair::generate().map_err(issue)?;
    let mut params = params(names, now, LEAF_DAYS, what)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "assay webhook");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer).map_err(issue)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_800_000_000;

    fn names() -> Vec<String> {
        vec!["assay-webhook.assay-system.svc".to_owned(), "10.87.0.1".to_owned()]
    }

    fn on_day(day: i64) -> Timestamp {
        Timestamp::from_seconds(START + day * DAY).unwrap()
    }

    fn step(held: Option<Material>, day: i64) -> Option<Material> {
        Material::advance(held, &names(), on_day(day)).unwrap()
    }

    fn issuer_name(pem: &str) -> String {
        parse(pem, "").unwrap().tbs_certificate.issuer.to_string()
    }

    #[test]
    fn made_once_and_then_left_alone() {
        let first = step(None, 0).unwrap();
        assert_eq!(issuer_name(&first.leaf.certificate), issuer_name(&first.authority.certificate));
        assert!(step(Some(first.clone()), 0).is_none());
        assert!(step(Some(first), 19).is_none());
    }

    #[test]
    fn the_served_certificate_is_renewed_and_follows_the_names() {
        let first = step(None, 0).unwrap();
        let renewed = step(Some(first.clone()), 21).unwrap();
        assert_eq!(renewed.authority, first.authority);
        assert_ne!(renewed.leaf, first.leaf);
        let other = Material::advance(Some(first), &["other.svc".to_owned()], on_day(1)).unwrap().unwrap();
        assert!(has_names(&parse(&other.leaf.certificate, "").unwrap(), &["other.svc".to_owned()]));
    }

    /// Lesson L12: a new authority is known before it issues, and the old one is known while something it issued is served.
    #[test]
    fn lesson_l12_an_authority_is_announced_before_it_takes_over() {
        let mut held = step(None, 0).unwrap();
        let first = held.authority.certificate.clone();
        let mut announced = None;
        for day in 1..420 {
            let before = held.clone();
            if let Some(next) = step(Some(held.clone()), day) {
                held = next;
            }
            let bundle = held.bundle();
            assert!(bundle.contains(held.authority.certificate.trim_end()), "day {day}");
            assert_eq!(issuer_name(&held.leaf.certificate), issuer_name(&held.authority.certificate), "day {day}");
            if held.authority != before.authority {
                assert!(before.bundle().contains(held.authority.certificate.trim_end()), "day {day}: unknown the day before");
                assert!(bundle.contains(before.authority.certificate.trim_end()), "day {day}: old leaves are still served");
            }
            if held.next.is_some() && announced.is_none() {
                announced = Some(day);
            }
        }
        assert!(announced.is_some_and(|day| day > 330));
        assert_ne!(held.authority.certificate, first);
        assert!(!held.bundle().contains(first.trim_end()), "dropped after its end");
    }

    #[test]
    fn what_cannot_be_read_is_not_replaced() {
        let mut held = step(None, 0).unwrap();
        held.authority.certificate = "garbage".to_owned();
        assert!(matches!(
            Material::advance(Some(held), &names(), on_day(1)),
            Err(AuthorityError::ParseCertificate { what: "authority", .. })
        ));
    }
}
