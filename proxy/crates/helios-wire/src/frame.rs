//! Tag and length framing over a buffer. Every reader of messages, in both directions, goes through `header`.

use std::ffi::CStr;

/// Bytes of a message's tag and length word.
pub const HEADER_LEN: usize = 5;

/// The largest length word PostgreSQL accepts (1 GiB - 1).
pub const MAX_MESSAGE_LEN: usize = 0x3fff_ffff;

/// PostgreSQL's cap on the messages that carry no data (Sync, Execute, Describe…), tag excluded.
pub const MAX_SMALL_LEN: usize = 10_000;

/// The first five bytes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The message's kind.
    pub tag: u8,
    /// Bytes of the whole message: tag, length word and body.
    pub total: usize,
}

impl Header {
    /// Bytes after the length word.
    pub fn body_len(self) -> usize {
        self.total - HEADER_LEN
    }
}

/// A length word that no peer of ours can have meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidLength {
    /// The message's kind.
    pub tag: u8,
    /// The length word as it came, read as unsigned.
    pub length: u32,
}

impl std::fmt::Display for InvalidLength {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tag = char::from(self.tag).escape_default();
        write!(
            f,
            "invalid message length {} for message type '{tag}'",
            self.length
        )
    }
}

impl std::error::Error for InvalidLength {}

/// The header at the start of `bytes`; `None` while fewer than five bytes are there.
///
/// # Errors
/// A length word below 4 or above 1 GiB.
#[inline]
pub fn header(bytes: &[u8]) -> Result<Option<Header>, InvalidLength> {
    let [tag, a, b, c, d, ..] = *bytes else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([a, b, c, d]);
    if !(4..=MAX_MESSAGE_LEN as u32).contains(&length) {
        return Err(InvalidLength { tag, length });
    }
    Ok(Some(Header {
        tag,
        total: length as usize + 1,
    }))
}

/// The length of the whole messages of one kind at the start of `bytes`. Rows come by the hundred in a read.
#[inline]
pub fn run_of(tag: u8, bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Ok(Some(next)) = header(&bytes[at..]) {
        if next.tag != tag || bytes.len() - at < next.total {
            break;
        }
        at += next.total;
    }
    at
}

/// Appends one message to `out`; `body` writes what follows the length word.
pub fn write(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = (out.len() - at) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends `text` and its terminator. A NUL inside ends the string early, as the receiver would read it.
pub fn write_cstr(out: &mut Vec<u8>, text: &[u8]) {
    // The standard library looks at a word at a time here.
    let end = CStr::from_bytes_until_nul(text).map_or(text.len(), |text| text.count_bytes());
    out.extend_from_slice(&text[..end]);
    out.push(0);
}

/// The string that starts at `at`, without its terminator, and the offset behind the terminator.
pub fn read_cstr(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    // The standard library looks at a word at a time here.
    let text = CStr::from_bytes_until_nul(rest).ok()?.to_bytes();
    Some((text, at + text.len() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_five_bytes() {
        assert_eq!(header(b"Q\0\0\0"), Ok(None));
        assert_eq!(
            header(b"Q\0\0\0\x04"),
            Ok(Some(Header {
                tag: b'Q',
                total: 5
            }))
        );
    }

    #[test]
    fn refuses_lengths_postgresql_refuses() {
        assert!(header(b"Q\0\0\0\x03").is_err());
        assert!(header(b"Q\x7f\xff\xff\xff").is_err());
        assert!(header(b"Q\xff\xff\xff\xff").is_err());
        assert!(header(b"Q\x3f\xff\xff\xff").is_ok());
    }

    #[test]
    fn a_run_ends_before_another_kind_a_part_and_a_fault() {
        let row = b"D\0\0\0\x06ab";
        let rows = [&row[..], row].concat();
        for rest in [
            &b""[..],
            b"C\0\0\0\x04",
            b"D\0\0",
            b"D\0\0\0\x06a",
            b"D\0\0\0\x03",
        ] {
            let bytes = [&rows[..], rest].concat();
            assert_eq!(run_of(b'D', &bytes), rows.len(), "{rest:?}");
        }
        assert_eq!(run_of(b'd', &rows), 0);
    }

    #[test]
    fn writes_what_it_reads() {
        let mut out = Vec::new();
        write(&mut out, b'S', |body| {
            write_cstr(body, b"TimeZone");
            write_cstr(body, b"UTC");
        });

        let header = header(&out).expect("valid").expect("complete");

        assert_eq!(header.total, out.len());
        assert_eq!(read_cstr(&out, HEADER_LEN), Some((&b"TimeZone"[..], 14)));
    }
}
