//! What an identifier names, of the way it is written.

/// Longest name in PostgreSQL; what is longer is cut off.
const MAX_NAME: usize = 63;

/// The name that an identifier of a statement means to the server: in small letters (ASCII only) unless quoted, and of at
/// most 63 bytes in UTF-8. `None` for one with Unicode escapes, which is not read.
pub fn identifier(written: &[u8]) -> Option<Vec<u8>> {
    let mut name = match written {
        [b'"', inner @ .., b'"'] => unquoted(inner),
        [b'u' | b'U', b'&', ..] => return None,
        word => word.to_ascii_lowercase(),
    };
    if name.len() > MAX_NAME {
        // Not within a character.
        let is_rest = |byte: u8| byte & 0xC0 == 0x80;
        let end = (0..=MAX_NAME).rev().find(|&end| !is_rest(name[end]));
        name.truncate(end.unwrap_or(MAX_NAME));
    }
    Some(name)
}

fn unquoted(inner: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        name.push(byte);
        if byte == b'"' {
            // Its double.
            bytes.next();
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_unquotes_and_cuts() {
        let long = "ä".repeat(40);
        for (written, name) in [
            ("News", "news"),
            ("\"News\"", "News"),
            ("\"a\"\"b\"", "a\"b"),
            ("NÄWS", "nÄws"),
            ("\"\"", ""),
            (&long, &long[..62]),
        ] {
            assert_eq!(
                identifier(written.as_bytes()).as_deref(),
                Some(name.as_bytes())
            );
        }
        assert_eq!(identifier(&[b'X'; 70]), Some(vec![b'x'; 63]));
        assert_eq!(identifier(b"U&\"n\""), None);
    }
}
