//! OpenSSH's ECDSA private keys whose number is short.
//!
//! OpenSSH writes the private number as an `mpint`, without leading zero bytes: every fourth key of P-521 and one in 512 of
//! the other curves is shorter than its curve's field. `ssh-key` 0.6 reads numbers of full length only.
//! Here the number gets its zeros back; the file is then read by `ssh-key` as any other.
//!
//! Source: openssh-portable, `PROTOCOL.key`; `mpint` in RFC 4251, section 5.

use ssh_key::PrivateKey;
use zeroize::Zeroizing;

use crate::keys::Password;

const MAGIC: &[u8] = b"openssh-key-v1\0";

/// Length to whose multiple the private part of an unencrypted file is padded, in bytes.
const BLOCK: usize = 8;

/// Reads the decoded body of a key file; of an encrypted one, with the key as it was read and its password.
///
/// Nothing, if it is no ECDSA key with a short number.
pub(crate) fn read(file: &[u8], encrypted: Option<(&PrivateKey, &Password)>) -> Option<PrivateKey> {
    let mut rest = file.strip_prefix(MAGIC)?;
    let (cipher, kdf, options) = (string(&mut rest)?, string(&mut rest)?, string(&mut rest)?);
    if take(&mut rest, 4)? != 1_u32.to_be_bytes() {
        return None;
    }
    let (public, private) = (string(&mut rest)?, string(&mut rest)?);
    let section = match encrypted {
        None if cipher == b"none" && kdf == b"none" && options.is_empty() && rest.is_empty() => widen(private, BLOCK)?,
        None => return None,
        Some((key, password)) => {
            let tag = if rest.is_empty() { None } else { Some(rest.try_into().ok()?) };
            let (cipher_key, iv) = key.kdf().derive_key_and_iv(key.cipher(), password.as_bytes()).ok()?;
            let mut plain = Zeroizing::new(private.to_vec());
            key.cipher().decrypt(&cipher_key, &iv, &mut plain, tag).ok()?;
            widen(&plain, key.cipher().block_size())?
        }
    };
    let mut plain = Zeroizing::new(MAGIC.to_vec());
    for field in [b"none".as_slice(), b"none", b""] {
        write(&mut plain, field)?;
    }
    plain.extend_from_slice(&1_u32.to_be_bytes());
    write(&mut plain, public)?;
    write(&mut plain, &section)?;
    PrivateKey::from_bytes(&plain).ok()
}

/// The private part with its number at full length, padded anew.
fn widen(section: &[u8], block: usize) -> Option<Zeroizing<Vec<u8>>> {
    if !section.len().is_multiple_of(block) {
        return None;
    }
    let mut rest = section;
    let check = take(&mut rest, 8)?;
    let (algorithm, curve, point) = (string(&mut rest)?, string(&mut rest)?, string(&mut rest)?);
    if !algorithm.starts_with(b"ecdsa-sha2-nistp") {
        return None;
    }
    // An uncompressed point is a byte and two coordinates as long as the field.
    let field = match curve {
        b"nistp256" => 32,
        b"nistp384" => 48,
        b"nistp521" => 66,
        _ => return None,
    };
    let (number, comment) = (string(&mut rest)?, string(&mut rest)?);
    // As an mpint has it: positive, and no zero byte that is not needed.
    let shortest = match number {
        [0, next, ..] => *next >= 0x80,
        [first, ..] => (1..0x80).contains(first),
        [] => false,
    };
    let padding_holds = rest.len() < block && rest.iter().zip(1_u8..).all(|(found, expected)| *found == expected);
    if !shortest || number.len() >= field || !padding_holds {
        return None;
    }
    // Room for all of it, so that no copy of the number is left behind by growing.
    let mut wide = Zeroizing::new(Vec::with_capacity(section.len() + field + BLOCK));
    wide.extend_from_slice(check);
    for field in [algorithm, curve, point] {
        write(&mut wide, field)?;
    }
    let mut full = Zeroizing::new(vec![0; field - number.len()]);
    full.reserve_exact(number.len());
    full.extend_from_slice(number);
    write(&mut wide, &full)?;
    write(&mut wide, comment)?;
    let padding = wide.len().next_multiple_of(BLOCK) - wide.len();
    wide.extend((1_u8..).take(padding));
    Some(wide)
}

/// Splits off so many bytes.
fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

/// Splits off a `string`: its length in four bytes, then its bytes.
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_be_bytes(take(rest, 4)?.try_into().ok()?);
    take(rest, usize::try_from(length).ok()?)
}

fn write(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    out.extend_from_slice(&u32::try_from(bytes.len()).ok()?.to_be_bytes());
    out.extend_from_slice(bytes);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shortest_form_of_a_short_number_is_widened() {
        let section = |number: &[u8], padding: &[u8]| {
            let mut bytes = vec![7; 8];
            for field in [b"ecdsa-sha2-nistp256".as_slice(), b"nistp256", &[4; 65], number, b"alice"] {
                write(&mut bytes, field).unwrap();
            }
            bytes.extend_from_slice(padding);
            bytes
        };
        let right = |number: &[u8]| {
            let length = section(number, b"").len();
            section(number, &[1, 2, 3, 4, 5, 6, 7][..length.next_multiple_of(8) - length])
        };
        for short in [&[1; 31][..], &[0x7f; 30], &[1], &[0, 0x80]] {
            let full = [vec![0; 32 - short.len()], short.to_vec()].concat();
            assert_eq!(*widen(&right(short), 8).unwrap(), right(&full));
        }
        for wrong in [&[1; 32][..], &[0x80; 31], &[0; 31], &[0, 0x7f], &[0], &[]] {
            assert_eq!(widen(&right(wrong), 8), None, "{wrong:?}");
        }
        let bytes = right(&[1; 31]);
        for length in 0..bytes.len() {
            assert_eq!(widen(&bytes[..length], 8), None);
        }
        let mut changed = bytes.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(widen(&changed, 8), None, "padding");
    }
}
