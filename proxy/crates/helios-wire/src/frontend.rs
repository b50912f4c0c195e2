//! Client messages: the heads the engine must read to rename statements, and builders for those it sends itself.

use crate::frame::{read_cstr, write, write_cstr, HEADER_LEN};

/// Sync.
pub const SYNC: &[u8] = b"S\0\0\0\x04";
/// Flush.
pub const FLUSH: &[u8] = b"H\0\0\0\x04";
/// Terminate.
pub const TERMINATE: &[u8] = b"X\0\0\0\x04";
/// Closes the unnamed statement.
pub const CLOSE_UNNAMED_STATEMENT: &[u8] = b"C\0\0\0\x06S\0";

/// What a Describe or Close names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `S`: a prepared statement.
    Statement,
    /// `P`: a portal.
    Portal,
}

/// Kind and name in the body of a Describe or Close; `None` when malformed.
pub fn read_target(body: &[u8]) -> Option<(Target, &[u8])> {
    let target = match body.first()? {
        b'S' => Target::Statement,
        b'P' => Target::Portal,
        _ => return None,
    };
    let (name, end) = read_cstr(body, 1)?;
    (end == body.len()).then_some((target, name))
}

/// Statement name and the rest (query, parameter types) in the body of a Parse; `None` when malformed.
pub fn read_parse(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, next) = read_cstr(body, 0)?;
    let (_, types) = read_cstr(body, next)?;
    let count = u16::from_be_bytes(*body.get(types..)?.first_chunk::<2>()?);
    (body.len() == types + 2 + 4 * usize::from(count)).then(|| (name, &body[next..]))
}

/// The two names at the head of a Bind's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindHead<'a> {
    /// Portal to make; empty for the unnamed one.
    pub portal: &'a [u8],
    /// Statement to bind; empty for the unnamed one.
    pub statement: &'a [u8],
    /// Bytes of both names with their terminators.
    pub len: usize,
}

/// Reads the head of a Bind from as much of its body as has come; `None` while a terminator is missing.
pub fn read_bind_head(body: &[u8]) -> Option<BindHead<'_>> {
    let (portal, next) = read_cstr(body, 0)?;
    let (statement, len) = read_cstr(body, next)?;
    Some(BindHead {
        portal,
        statement,
        len,
    })
}

/// The formats that a Bind without parameters asks of the results; `rest` is its body behind the head. `None` when it is
/// malformed or has parameters.
pub fn read_result_formats(rest: &[u8]) -> Option<Vec<bool>> {
    let (formats, behind) = read_words(rest)?;
    let is_valid = behind.starts_with(&[0, 0]) && formats.iter().all(|&word| word <= 1);
    read_bind_formats(rest).filter(|_| is_valid)
}

/// The formats that a Bind asks of the results, true for binary; `rest` is its body behind the head. `None` when it is
/// malformed.
pub fn read_bind_formats(rest: &[u8]) -> Option<Vec<bool>> {
    let (_, rest) = read_words(rest)?;
    let (count, mut rest) = rest.split_first_chunk::<2>()?;
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, value) = rest.split_first_chunk::<4>()?;
        // A negative one is NULL.
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        rest = value.get(length..)?;
    }
    let (results, rest) = read_words(rest)?;
    let is_valid = rest.is_empty() && results.iter().all(|&word| word <= 1);
    is_valid.then(|| results.iter().map(|&word| word == 1).collect())
}

/// A count of 16-bit numbers, these, and what is behind them.
fn read_words(bytes: &[u8]) -> Option<(Vec<u16>, &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<2>()?;
    let (words, rest) = rest.split_at_checked(2 * usize::from(u16::from_be_bytes(*count)))?;
    let words = words
        .chunks_exact(2)
        .map(|word| u16::from_be_bytes([word[0], word[1]]));
    Some((words.collect(), rest))
}

/// Portal and limit of rows in the body of an Execute, 0 for all; `None` when malformed.
pub fn read_execute(body: &[u8]) -> Option<(&[u8], usize)> {
    let (portal, next) = read_cstr(body, 0)?;
    let limit = i32::from_be_bytes(body.get(next..)?.try_into().ok()?);
    Some((portal, usize::try_from(limit).unwrap_or(0)))
}

/// Gives `put` the head of a Bind, piece by piece, whose remaining `rest` bytes (formats, values) the caller sends after
/// it. Neither name may contain a NUL.
pub fn bind_head(mut put: impl FnMut(&[u8]), portal: &[u8], statement: &[u8], rest: usize) {
    let length = HEADER_LEN - 1 + portal.len() + statement.len() + 2 + rest;
    put(b"B");
    put(&(length as u32).to_be_bytes());
    for name in [portal, statement] {
        put(name);
        put(b"\0");
    }
}

/// Appends a Parse; `rest` is what follows the name in the original message.
pub fn parse(out: &mut Vec<u8>, name: &[u8], rest: &[u8]) {
    write(out, b'P', |body| {
        write_cstr(body, name);
        body.extend_from_slice(rest);
    });
}

/// Appends an Execute without a limit of rows.
pub fn execute(out: &mut Vec<u8>, portal: &[u8]) {
    write(out, b'E', |body| {
        write_cstr(body, portal);
        body.extend_from_slice(&[0; 4]);
    });
}

/// Appends a Describe of a statement.
pub fn describe_statement(out: &mut Vec<u8>, name: &[u8]) {
    write(out, b'D', |body| {
        body.push(b'S');
        write_cstr(body, name);
    });
}

/// Appends a Close of a statement.
pub fn close_statement(out: &mut Vec<u8>, name: &[u8]) {
    write(out, b'C', |body| {
        body.push(b'S');
        write_cstr(body, name);
    });
}

/// Appends a simple Query.
pub fn query(out: &mut Vec<u8>, sql: &[u8]) {
    write(out, b'Q', |body| write_cstr(body, sql));
}

/// Appends Parse, Bind and Execute of a query with one parameter and results as text; a Sync has to follow.
pub fn ask(out: &mut Vec<u8>, sql: &str, parameter: &str) {
    write(out, b'P', |body| {
        write_cstr(body, b"");
        write_cstr(body, sql.as_bytes());
        body.extend_from_slice(&0_u16.to_be_bytes());
    });
    write(out, b'B', |body| {
        body.extend_from_slice(b"\0\0\0\0\0\x01");
        body.extend_from_slice(&(parameter.len() as u32).to_be_bytes());
        body.extend_from_slice(parameter.as_bytes());
        body.extend_from_slice(&0_u16.to_be_bytes());
    });
    write(out, b'E', |body| body.extend_from_slice(&[0; 5]));
}

/// Appends a PasswordMessage, SASLInitialResponse or SASLResponse with this body.
pub fn password(out: &mut Vec<u8>, bytes: &[u8]) {
    write(out, b'p', |body| body.extend_from_slice(bytes));
}

/// Appends a SASLInitialResponse for a mechanism.
pub fn sasl_initial(out: &mut Vec<u8>, mechanism: &str, data: &[u8]) {
    write(out, b'p', |body| {
        write_cstr(body, mechanism.as_bytes());
        body.extend_from_slice(&(data.len() as u32).to_be_bytes());
        body.extend_from_slice(data);
    });
}

/// Mechanism and data of a SASLInitialResponse body; data is `None` when the client sent none.
pub fn read_sasl_initial(body: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let (mechanism, next) = read_cstr(body, 0)?;
    let (length, data) = body.get(next..)?.split_first_chunk::<4>()?;
    let length = i32::from_be_bytes(*length);
    if length == -1 {
        return data.is_empty().then_some((mechanism, None));
    }
    (usize::try_from(length).ok()? == data.len()).then_some((mechanism, Some(data)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renames_the_head_of_a_bind() {
        let body = b"portal\0statement\0rest";
        let head = read_bind_head(body).expect("complete");

        let mut out = Vec::new();
        let rest = body.len() - head.len;
        bind_head(
            |piece| out.extend_from_slice(piece),
            head.portal,
            b"helios_1",
            rest,
        );
        out.extend_from_slice(&body[head.len..]);

        assert_eq!(
            crate::frame::header(&out)
                .expect("valid")
                .expect("complete")
                .total,
            out.len()
        );
        assert_eq!(&out[5..], b"portal\0helios_1\0rest");
    }

    #[test]
    fn refuses_malformed_bodies() {
        assert_eq!(read_target(b"X\0"), None);
        assert_eq!(read_target(b"Sname"), None);
        assert_eq!(read_parse(b"name\0select 1\0\0\x01"), None);
        assert_eq!(
            read_parse(b"n\0q\0\0\0"),
            Some((&b"n"[..], &b"q\0\0\0"[..]))
        );
        assert_eq!(read_execute(b"c\0\0\0\0\x05"), Some((&b"c"[..], 5)));
        assert_eq!(read_execute(b"c\0\0\0\0"), None);
        assert_eq!(
            read_result_formats(b"\0\0\0\0\0\x02\0\0\0\x01"),
            Some(vec![false, true])
        );
        for refused in [
            &b"\0\0\0\x01\0\0\0\x01x\0\0"[..],
            b"\0\0\0\0\0\x01\0\x02",
            b"\0\0\0\0\0\x02\0\0",
            b"\0\0\0\0\0\0\0",
        ] {
            assert_eq!(read_result_formats(refused), None);
        }
        assert_eq!(
            read_bind_formats(b"\0\0\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x01\0\x01"),
            Some(vec![true])
        );
        assert_eq!(read_bind_formats(b"\0\0\0\x01\0\0\0\x02x\0\0"), None);
        assert_eq!(read_sasl_initial(b"SCRAM-SHA-256\0\0\0\0\x05abc"), None);
    }
}
