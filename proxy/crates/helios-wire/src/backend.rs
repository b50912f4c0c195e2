//! Server messages that the proxy originates itself, and the few server bodies it reads.

use crate::frame::{read_cstr, write, write_cstr, HEADER_LEN};

/// ParseComplete.
pub const PARSE_COMPLETE: &[u8] = b"1\0\0\0\x04";
/// BindComplete.
pub const BIND_COMPLETE: &[u8] = b"2\0\0\0\x04";
/// NoData.
pub const NO_DATA: &[u8] = b"n\0\0\0\x04";
/// EmptyQueryResponse.
pub const EMPTY_QUERY_RESPONSE: &[u8] = b"I\0\0\0\x04";
/// PortalSuspended.
pub const PORTAL_SUSPENDED: &[u8] = b"s\0\0\0\x04";
/// ParameterDescription of a statement that has no parameters.
pub const NO_PARAMETERS: &[u8] = b"t\0\0\0\x06\0\0";
/// CloseComplete.
pub const CLOSE_COMPLETE: &[u8] = b"3\0\0\0\x04";
/// AuthenticationOk.
pub const AUTHENTICATION_OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";
/// AuthenticationCleartextPassword.
pub const AUTHENTICATION_CLEARTEXT: &[u8] = b"R\0\0\0\x08\0\0\0\x03";

/// Transaction status of a ReadyForQuery, the only truth about transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// `I`: not in a transaction block.
    Idle,
    /// `T`: in a transaction block.
    Transaction,
    /// `E`: in a failed transaction block.
    Failed,
}

impl Status {
    /// Reads the byte of a ReadyForQuery.
    pub fn from_byte(byte: u8) -> Option<Status> {
        match byte {
            b'I' => Some(Status::Idle),
            b'T' => Some(Status::Transaction),
            b'E' => Some(Status::Failed),
            _ => None,
        }
    }

    /// The byte of a ReadyForQuery.
    pub fn as_byte(self) -> u8 {
        match self {
            Status::Idle => b'I',
            Status::Transaction => b'T',
            Status::Failed => b'E',
        }
    }
}

/// Appends a ReadyForQuery.
pub fn ready_for_query(out: &mut Vec<u8>, status: Status) {
    write(out, b'Z', |body| body.push(status.as_byte()));
}

/// Appends a ParameterStatus.
pub fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    write(out, b'S', |body| {
        write_cstr(body, name.as_bytes());
        write_cstr(body, value.as_bytes());
    });
}

/// Appends a CommandComplete.
pub fn command_complete(out: &mut Vec<u8>, tag: &str) {
    write(out, b'C', |body| write_cstr(body, tag.as_bytes()));
}

/// A column as a RowDescription shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column<'a> {
    /// Its name.
    pub name: &'a str,
    /// Object id of its type.
    pub oid: u32,
    /// Bytes of its type, -1 where they vary.
    pub size: i16,
    /// Whether its values come as binary.
    pub is_binary: bool,
}

/// Appends a RowDescription of columns that belong to no table.
pub fn row_description<'a>(out: &mut Vec<u8>, columns: impl ExactSizeIterator<Item = Column<'a>>) {
    write(out, b'T', |body| {
        body.extend_from_slice(&(columns.len() as u16).to_be_bytes());
        for column in columns {
            write_cstr(body, column.name.as_bytes());
            body.extend_from_slice(&[0; 6]);
            body.extend_from_slice(&column.oid.to_be_bytes());
            body.extend_from_slice(&column.size.to_be_bytes());
            body.extend_from_slice(&(-1_i32).to_be_bytes());
            body.extend_from_slice(&u16::from(column.is_binary).to_be_bytes());
        }
    });
}

/// Appends a DataRow; `None` is NULL.
pub fn data_row(out: &mut Vec<u8>, values: &[Option<Vec<u8>>]) {
    write(out, b'D', |body| {
        body.extend_from_slice(&(values.len() as u16).to_be_bytes());
        for value in values {
            let length = value.as_ref().map_or(-1, |value| value.len() as i32);
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(value.as_deref().unwrap_or_default());
        }
    });
}

/// Appends a BackendKeyData; `key` is 4 bytes in protocol 3.0 and up to 256 in 3.2.
pub fn backend_key_data(out: &mut Vec<u8>, pid: u32, key: &[u8]) {
    write(out, b'K', |body| {
        body.extend_from_slice(&pid.to_be_bytes());
        body.extend_from_slice(key);
    });
}

/// Appends an AuthenticationMD5Password with its salt.
pub fn authentication_md5(out: &mut Vec<u8>, salt: [u8; 4]) {
    write(out, b'R', |body| {
        body.extend_from_slice(&5_u32.to_be_bytes());
        body.extend_from_slice(&salt);
    });
}

/// Appends an AuthenticationSASL that offers these mechanisms, the best first.
pub fn authentication_sasl(out: &mut Vec<u8>, mechanisms: &[&str]) {
    write(out, b'R', |body| {
        body.extend_from_slice(&10_u32.to_be_bytes());
        for mechanism in mechanisms {
            write_cstr(body, mechanism.as_bytes());
        }
        body.push(0);
    });
}

/// Appends an AuthenticationSASLContinue.
pub fn authentication_sasl_continue(out: &mut Vec<u8>, data: &[u8]) {
    write(out, b'R', |body| {
        body.extend_from_slice(&11_u32.to_be_bytes());
        body.extend_from_slice(data);
    });
}

/// Appends an AuthenticationSASLFinal.
pub fn authentication_sasl_final(out: &mut Vec<u8>, data: &[u8]) {
    write(out, b'R', |body| {
        body.extend_from_slice(&12_u32.to_be_bytes());
        body.extend_from_slice(data);
    });
}

/// What a server asks for in an Authentication message's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// The login is accepted.
    Ok,
    /// The password itself.
    Cleartext,
    /// An md5 response with this salt.
    Md5([u8; 4]),
    /// SASL with one of these mechanisms.
    Sasl(Vec<&'a [u8]>),
    /// The server's first SASL message.
    SaslContinue(&'a [u8]),
    /// The server's last SASL message.
    SaslFinal(&'a [u8]),
    /// A method we do not speak (Kerberos, GSSAPI, SSPI…), by its code.
    Other(u32),
}

impl<'a> Authentication<'a> {
    /// Reads the body of an `R` message; `None` when it is too short.
    pub fn parse(body: &'a [u8]) -> Option<Authentication<'a>> {
        let (code, rest) = body.split_first_chunk::<4>()?;
        Some(match u32::from_be_bytes(*code) {
            0 => Authentication::Ok,
            3 => Authentication::Cleartext,
            5 => Authentication::Md5(*rest.first_chunk::<4>()?),
            10 => Authentication::Sasl(
                rest.split(|&byte| byte == 0)
                    .filter(|name| !name.is_empty())
                    .collect(),
            ),
            11 => Authentication::SaslContinue(rest),
            12 => Authentication::SaslFinal(rest),
            other => Authentication::Other(other),
        })
    }
}

/// Values of a DataRow body, `None` for NULL; nothing when it is malformed.
pub fn read_data_row(body: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut values = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        let value = match length {
            -1 => None,
            _ => Some(after.get(..usize::try_from(length).ok()?)?),
        };
        rest = &after[value.map_or(0, <[u8]>::len)..];
        values.push(value);
    }
    rest.is_empty().then_some(values)
}

/// A column of a RowDescription, as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawColumn<'a> {
    /// Its name, with the terminator.
    pub name: &'a [u8],
    /// The type's OID, size and modifier, as sent.
    pub kind: &'a [u8],
}

/// The columns of a RowDescription body, up to the first one that is not complete.
pub fn read_columns(body: &[u8]) -> impl Iterator<Item = RawColumn<'_>> {
    let mut rest = body.get(2..).unwrap_or_default();
    std::iter::from_fn(move || {
        let end = 1 + rest.iter().position(|&byte| byte == 0)?;
        let (name, after) = rest.split_at(end);
        // Behind the table's OID and the column's number; the format comes last.
        let (fixed, next) = after.split_at_checked(18)?;
        rest = next;
        Some(RawColumn {
            name,
            kind: &fixed[6..16],
        })
    })
}

/// Name and value of a ParameterStatus body.
pub fn read_parameter_status(body: &[u8]) -> Option<(&str, &str)> {
    let (name, next) = read_cstr(body, 0)?;
    let (value, _) = read_cstr(body, next)?;
    Some((
        std::str::from_utf8(name).ok()?,
        std::str::from_utf8(value).ok()?,
    ))
}

/// Process id of the sender and channel of a NotificationResponse's body.
pub fn read_notification(body: &[u8]) -> Option<(u32, &[u8])> {
    let pid = body.first_chunk::<4>()?;
    let (channel, payload) = read_cstr(body, pid.len())?;
    read_cstr(body, payload)?;
    Some((u32::from_be_bytes(*pid), channel))
}

/// Writes another sender into a complete NotificationResponse.
pub fn set_sender(message: &mut [u8], pid: u32) {
    if let Some(sender) = message.get_mut(HEADER_LEN..HEADER_LEN + 4) {
        sender.copy_from_slice(&pid.to_be_bytes());
    }
}

/// Process id and secret key of a BackendKeyData body.
pub fn read_backend_key_data(body: &[u8]) -> Option<(u32, &[u8])> {
    let (pid, key) = body.split_first_chunk::<4>()?;
    (4..=256)
        .contains(&key.len())
        .then(|| (u32::from_be_bytes(*pid), key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_authentication_request() {
        assert_eq!(
            Authentication::parse(&[0, 0, 0, 0]),
            Some(Authentication::Ok)
        );
        assert_eq!(
            Authentication::parse(&[0, 0, 0, 5, 1, 2, 3, 4]),
            Some(Authentication::Md5([1, 2, 3, 4]))
        );
        assert_eq!(Authentication::parse(&[0, 0, 0, 5, 1]), None);
        assert_eq!(
            Authentication::parse(b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"),
            Some(Authentication::Sasl(vec![
                b"SCRAM-SHA-256-PLUS",
                b"SCRAM-SHA-256"
            ]))
        );
        assert_eq!(Authentication::parse(&[0, 0]), None);
    }

    #[test]
    fn reads_rows_and_refuses_torn_ones() {
        let row = b"\0\x02\xff\xff\xff\xff\0\0\0\x01x";

        assert_eq!(read_data_row(row), Some(vec![None, Some(&b"x"[..])]));
        for torn in [
            &row[..10],
            &row[..7],
            &b"\0\x01\xff\xff\xff\xfe"[..],
            &b"\0\0x"[..],
            &b"\0"[..],
        ] {
            assert_eq!(read_data_row(torn), None);
        }
    }

    #[test]
    fn reads_columns_without_their_origin_and_format() {
        let column = |table: u8, kind: u8, format: u8| {
            let mut body = b"\0\x01a\0\0\0\0".to_vec();
            body.extend([
                table, 0, 1, 0, 0, 0, kind, 0, 4, 0xff, 0xff, 0xff, 0xff, 0, format,
            ]);
            read_columns(&body)
                .map(|column| (column.name.to_vec(), column.kind.to_vec()))
                .collect::<Vec<_>>()
        };

        assert_eq!(column(7, 23, 0), column(8, 23, 1));
        assert_ne!(column(7, 23, 0), column(7, 25, 0));
        assert_eq!(column(7, 23, 0)[0].0, b"a\0");
        assert_eq!(read_columns(b"\0\x01a\0\0").count(), 0);
        assert_eq!(read_columns(b"\0").count(), 0);
    }

    #[test]
    fn reads_back_what_it_writes() {
        let mut out = Vec::new();
        data_row(&mut out, &[None, Some(b"x".to_vec())]);
        assert_eq!(read_data_row(&out[5..]), Some(vec![None, Some(&b"x"[..])]));

        let mut out = Vec::new();
        parameter_status(&mut out, "TimeZone", "UTC");
        assert_eq!(read_parameter_status(&out[5..]), Some(("TimeZone", "UTC")));

        let mut out = Vec::new();
        backend_key_data(&mut out, 7, &[1, 2, 3, 4]);
        assert_eq!(
            read_backend_key_data(&out[5..]),
            Some((7, &[1_u8, 2, 3, 4][..]))
        );
        assert_eq!(read_backend_key_data(&[0, 0, 0, 1, 9]), None);
    }

    #[test]
    fn reads_notifications_and_changes_their_sender() {
        let mut message = b"A\0\0\0\x0e\0\0\0\x07ab\0c\0".to_vec();
        assert_eq!(read_notification(&message[5..]), Some((7, &b"ab"[..])));
        assert_eq!(read_notification(&message[5..13]), None);
        set_sender(&mut message, 9);
        assert_eq!(read_notification(&message[5..]), Some((9, &b"ab"[..])));
    }
}
